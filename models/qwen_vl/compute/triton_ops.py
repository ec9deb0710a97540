"""Triton kernels: the operations of torch_ops.py fused, and the attention of a step in one kernel.

Attention: a program takes one item (some tokens, one range of keys) and one key head; the query heads of that key head
are packed as rows, so keys are read once for all of them. Long ranges are split into several items, whose results are
merged. Short items (decode) run with 16 rows a program, long ones (prompts, pages) with 64.
"""
# Triton compiles the source of its functions; their arguments have no Python types.
# mypy: disable-error-code="no-untyped-def, attr-defined"

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .attention import Choice
from .torch_ops import Plain


@triton.jit
def _norm(x, more, weight, out, eps, width, ADD: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * width
    at = tl.arange(0, BLOCK)
    live = at < width
    value = tl.load(x + row + at, mask=live, other=0.0)
    if ADD:
        value = (value.to(tl.float32) + tl.load(more + row + at, mask=live, other=0.0).to(tl.float32)).to(value.dtype)
        tl.store(x + row + at, value, mask=live)
    wide = value.to(tl.float32)
    scale = tl.rsqrt(tl.sum(wide * wide, 0) / width + eps)
    scaled = (wide * scale).to(value.dtype).to(tl.float32)
    tl.store(out + row + at, (scaled * tl.load(weight + at, mask=live, other=0.0)).to(value.dtype), mask=live)


@triton.jit
def _silu_mul(gate_up, out, width, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    live = at < width
    gate = tl.load(gate_up + row * 2 * width + at, mask=live, other=0.0)
    up = tl.load(gate_up + row * 2 * width + width + at, mask=live, other=0.0)
    wide = gate.to(tl.float32)
    silu = (wide / (1.0 + tl.exp(-wide))).to(gate.dtype)
    tl.store(out + row * width + at, (silu.to(tl.float32) * up.to(tl.float32)).to(up.dtype), mask=live)


@triton.jit
def _rotate(qkv, cos, sin, rows, k, v, stride, pool_stride, heads, kv_heads, half,
            STORE: tl.constexpr, HEADS: tl.constexpr, HALF: tl.constexpr):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)[:, None]
    d = tl.arange(0, HALF)[None, :]
    live = (d < half) & (head < heads)
    c = tl.load(cos + token * half + d, mask=d < half, other=0.0)
    s = tl.load(sin + token * half + d, mask=d < half, other=0.0)
    place = qkv + token * stride + head * 2 * half + d
    a = tl.load(place, mask=live, other=0.0)
    b = tl.load(place + half, mask=live, other=0.0)
    turned = head < heads - kv_heads  # with STORE, the last kv_heads are values, which are not rotated
    wide_a, wide_b = a.to(tl.float32), b.to(tl.float32)
    first = tl.where(turned, wide_a * c - wide_b * s, wide_a).to(a.dtype)
    second = tl.where(turned, wide_b * c + wide_a * s, wide_b).to(a.dtype)
    if STORE:
        row = tl.load(rows + token).to(tl.int64)
        query = head < heads - 2 * kv_heads
        tl.store(place, first, mask=live & query)
        tl.store(place + half, second, mask=live & query)
        key = live & turned & (head >= heads - 2 * kv_heads)
        at = k + (head - (heads - 2 * kv_heads)) * pool_stride + row * 2 * half + d
        tl.store(at, first, mask=key)
        tl.store(at + half, second, mask=key)
        value = live & (head >= heads - kv_heads)
        at = v + (head - (heads - kv_heads)) * pool_stride + row * 2 * half + d
        tl.store(at, first, mask=value)
        tl.store(at + half, second, mask=value)
    else:
        tl.store(place, first, mask=live)
        tl.store(place + half, second, mask=live)


@triton.jit
def _attend(q, k, v, items, part_rows, parts, sums, q_stride, pool_stride, scale, heads,
            GROUP: tl.constexpr, D: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
            PRECISE: tl.constexpr):  # fmt: skip
    item = items + tl.program_id(1) * 6
    tokens = tl.load(item + 1)
    if tokens == 0:
        return
    kv_head = tl.program_id(0)
    token, key, keys = tl.load(item), tl.load(item + 2).to(tl.int64), tl.load(item + 3)
    causal, part = tl.load(item + 4), tl.load(item + 5)
    row = tl.arange(0, ROWS)
    nth = row // GROUP
    head = kv_head * GROUP + row % GROUP
    live = nth < tokens
    d = tl.arange(0, D)
    at = (token + nth).to(tl.int64)
    query = tl.load(q + at[:, None] * q_stride + head[:, None] * D + d[None, :], mask=live[:, None], other=0.0)
    k += kv_head.to(tl.int64) * pool_stride + key * D
    v += kv_head.to(tl.int64) * pool_stride + key * D
    high = tl.full((ROWS,), -float("inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    acc = tl.zeros((ROWS, D), tl.float32)
    last = causal + nth  # the last key that a row attends to
    for start in range(0, keys, KEYS):
        col = start + tl.arange(0, KEYS)
        there = col < keys
        some_k = tl.load(k + col[None, :] * D + d[:, None], mask=there[None, :], other=0.0)
        score = tl.dot(query, some_k, input_precision="ieee" if PRECISE else "tf32") * scale
        score = tl.where(there[None, :] & (col[None, :] <= last[:, None]), score, -float("inf"))
        new = tl.maximum(high, tl.max(score, 1))
        safe = tl.where(new == -float("inf"), 0.0, new)
        weight = tl.exp2(score - safe[:, None])
        fade = tl.exp2(high - safe)
        some_v = tl.load(v + col[:, None] * D + d[None, :], mask=there[:, None], other=0.0)
        total = total * fade + tl.sum(weight, 1)
        acc = acc * fade[:, None]
        acc += tl.dot(weight.to(some_v.dtype), some_v, input_precision="ieee" if PRECISE else "tf32")
        high = new
    place = (tl.load(part_rows + at, mask=live, other=0) + part).to(tl.int64) * heads + head
    acc = acc / tl.where(total == 0.0, 1.0, total)[:, None]
    tl.store(parts + place[:, None] * D + d[None, :], acc, mask=live[:, None])
    tl.store(sums + place, high + tl.log2(total), mask=live)


@triton.jit
def _merge(parts, sums, part_rows, counts, out, heads, D: tl.constexpr, HEADS: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)
    live = head < heads
    d = tl.arange(0, D)
    first, count = tl.load(part_rows + token).to(tl.int64), tl.load(counts + token)
    high = tl.full((HEADS,), -float("inf"), tl.float32)
    total = tl.zeros((HEADS,), tl.float32)
    acc = tl.zeros((HEADS, D), tl.float32)
    for i in range(count):
        place = (first + i) * heads + head
        lse = tl.load(sums + place, mask=live, other=0.0)
        some = tl.load(parts + place[:, None] * D + d[None, :], mask=live[:, None], other=0.0)
        new = tl.maximum(high, lse)
        safe = tl.where(new == -float("inf"), 0.0, new)
        old, now = tl.exp2(high - safe), tl.exp2(lse - safe)
        acc = acc * old[:, None] + some * now[:, None]
        total = total * old + now
        high = new
    acc = acc / tl.where(total == 0.0, 1.0, total)[:, None]
    tl.store(out + (token * heads + head)[:, None] * D + d[None, :], acc.to(out.dtype.element_ty), mask=live[:, None])


@triton.jit
def _scan(logits, allowed, found, vocab, words, chunk, MASK: tl.constexpr, BLOCK: tl.constexpr):
    row, piece = tl.program_id(0).to(tl.int64), tl.program_id(1)
    all_high = -float("inf")
    all_sum = 0.0
    high = -float("inf")
    total = 0.0
    best = 0
    for start in range(piece * chunk, tl.minimum((piece + 1) * chunk, vocab), BLOCK):
        at = start + tl.arange(0, BLOCK)
        value = tl.load(logits + row * vocab + at, mask=at < vocab, other=-float("inf")).to(tl.float32)
        new = tl.maximum(all_high, tl.max(value, 0))
        all_sum = all_sum * tl.exp(all_high - new) + tl.sum(tl.exp(value - new), 0)
        all_high = new
        if MASK:
            word = tl.load(allowed + row * words + at // 32, mask=at < vocab, other=0)
            value = tl.where(((word >> (at % 32)) & 1) != 0, value, -float("inf"))
        top = tl.max(value, 0)
        if top > high:
            total = total * tl.exp(high - top)
            high = top
            best = start + tl.argmax(value, 0)
        total += tl.sum(tl.exp(value - tl.where(high == -float("inf"), 0.0, high)), 0)
    out = found + (row * tl.num_programs(1) + piece) * 5
    tl.store(out, high)
    tl.store(out + 1, total)
    tl.store(out + 2, all_high)
    tl.store(out + 3, all_sum)
    tl.store(out + 4, best.to(tl.float32))  # exact: a vocabulary is far below 2**24


@triton.jit
def _pick(found, tokens, scores, rows, PIECES: tl.constexpr):
    row = tl.program_id(0)
    at = found + (row * PIECES + tl.arange(0, PIECES)) * 5
    high, total, all_high, all_sum = tl.load(at), tl.load(at + 1), tl.load(at + 2), tl.load(at + 3)
    best = tl.load(at + 4).to(tl.int32)
    top, all_top = tl.max(high, 0), tl.max(all_high, 0)
    which = tl.argmax(high, 0)
    token = tl.sum(tl.where(tl.arange(0, PIECES) == which, best, 0), 0)
    among = top + tl.log(tl.sum(total * tl.exp(high - top), 0))
    free = all_top + tl.log(tl.sum(all_sum * tl.exp(all_high - all_top), 0))
    tl.store(tokens + row, token)
    tl.store(scores + row, top - among)
    tl.store(scores + rows + row, top - free)


def _power(n: int) -> int:
    return int(triton.next_power_of_2(n))


class Fused(Plain):
    """The operations in Triton. Attention reads its items from device memory, so that a step can be a CUDA graph."""

    graphs = True
    tile_rows = 64
    short_rows = 16
    pieces = 32  # of the vocabulary, searched in parallel

    def __init__(self, choice: Choice) -> None:
        super().__init__(choice)
        self.name = "triton"

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        return self._normed(x, x, weight, eps, False)

    def add_rms_norm(self, x: Tensor, more: Tensor, weight: Tensor, eps: float) -> Tensor:
        return self._normed(x, more, weight, eps, True)

    def _normed(self, x: Tensor, more: Tensor, weight: Tensor, eps: float, add: bool) -> Tensor:
        out = torch.empty_like(x)
        width = x.shape[-1]
        block = _power(width)
        # At most one thread an element: a second one would read the sum that the first has written.
        warps = max(1, min(8, block // 64))
        _norm[(x.numel() // width,)](x, more, weight, out, eps, width, add, block, num_warps=warps)
        return out

    def silu_mul(self, gate_up: Tensor) -> Tensor:
        rows, width = gate_up.shape[0], gate_up.shape[1] // 2
        out = torch.empty(rows, width, dtype=gate_up.dtype, device=gate_up.device)
        _silu_mul[(rows, triton.cdiv(width, 2048))](gate_up, out, width, 2048, num_warps=8)
        return out

    def rotate(self, qk: Tensor, cos: Tensor, sin: Tensor) -> None:
        tokens, heads, size = qk.shape
        grid, half = (tokens, triton.cdiv(heads, 16)), _power(size // 2)
        _rotate[grid](qk, cos, sin, cos, qk, qk, qk.stride(0), 0, heads, 0, size // 2,
                      False, 16, half, num_warps=min(4, half // 2))  # fmt: skip

    def rotate_store(self, qkv: Tensor, cos: Tensor, sin: Tensor, rows: Tensor, k: Tensor, v: Tensor) -> Tensor:
        tokens, heads, size = qkv.shape
        kv, half = k.shape[0], size // 2
        _rotate[(tokens, triton.cdiv(heads, 16))](qkv, cos, sin, rows, k, v, qkv.stride(0), k.stride(0), heads, kv,
                                                  half, True, 16, half, num_warps=min(4, half // 2))  # fmt: skip
        return qkv[:, : -2 * kv]

    def attend(self, q: Tensor, k: Tensor, v: Tensor, items: Any, scale: float) -> Tensor:
        """`items` is a `model_runner.AttentionWork`: short and long items on the device, and room for their results."""
        tokens, heads, size = q.shape
        kv = k.shape[0]
        out = torch.empty(tokens, heads * size, dtype=q.dtype, device=q.device)
        for table, rows, warps in ((items.short, self.short_rows, 4), (items.long, self.tile_rows, 4)):
            if len(table):
                _attend[(kv, len(table))](
                    q, k, v, table, items.part_rows, items.parts, items.sums, q.stride(0), k.stride(0),
                    scale * 1.4426950408889634, heads, heads // kv, size, rows, 64, q.dtype == torch.float32,
                    num_warps=warps, num_stages=3 if size * q.itemsize <= 256 else 2)  # fmt: skip
        block = 8
        _merge[(tokens, triton.cdiv(heads, block))](items.parts, items.sums, items.part_rows, items.counts, out, heads,
                                                    size, block, num_warps=4)  # fmt: skip
        return out

    def sample(self, logits: Tensor, allowed: Tensor, constrained: bool) -> Tensor:
        rows, vocab = logits.shape
        found = torch.empty(rows, self.pieces, 5, device=logits.device)
        out = torch.empty(3, rows, dtype=torch.int32, device=logits.device)
        chunk = triton.cdiv(triton.cdiv(vocab, self.pieces), 1024) * 1024
        _scan[(rows, self.pieces)](logits, allowed, found, vocab, allowed.shape[1], chunk, constrained, 1024)
        _pick[(rows,)](found, out, out[1:].view(torch.float32), rows, self.pieces)
        return out
