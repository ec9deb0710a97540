"""Attention over ranges of keys, with the kernels that can compute it.

A token attends to a few *ranges* of one flat KV cache: its page (shared by every question about that page) and
its own question and answer. An `Item` is neighbouring tokens against one range. The results of several items for one
token are merged by log-sum-exp, which is exact. FlashAttention-2's varlen call takes
`cu_seqlens_k[b]` as the start of a range and `seqused_k[b]` as its length, so a range may begin anywhere and no block
table is needed.
"""

import importlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

FULL = 1 << 30  # `Item.causal` of a range without a causal mask


class Item(NamedTuple):
    """Tokens `token .. token+tokens` against rows of the KV cache `key .. key+keys`.

    Token i of the item sees key j when j <= causal + i. `part` numbers the items of one token from 0.
    """

    token: int
    tokens: int
    key: int
    keys: int
    causal: int
    part: int


class Ranges(NamedTuple):
    """Ranges of queries (rows of a packed batch) against ranges of keys, in the format of the varlen kernels."""

    query_starts: Tensor  # int32 [n+1]
    key_starts: Tensor  # int32 [n+1], the last one unused
    key_lengths: Tensor  # int32 [n]
    longest_query: int
    longest_key: int


# (q [T,H,D], k and v [N,Hkv,D], ranges, causal, scale) -> out [T,H,D], log-sum-exp float32 [H,T].
# Causal is aligned at the end: the last query of a range sees its last key.
Varlen = Callable[[Tensor, Tensor, Tensor, Ranges, bool, float], tuple[Tensor, Tensor]]


def flash_attn(q: Tensor, k: Tensor, v: Tensor, ranges: Ranges, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
    """The package flash-attn. Raises ImportError if it is not installed."""
    forward = importlib.import_module("flash_attn.flash_attn_interface")._flash_attn_varlen_forward
    starts, keys, lengths, longest_q, longest_k = ranges
    out, lse, *_ = forward(q, k, v, starts, keys, longest_q, longest_k, 0.0, scale, causal, seqused_k=lengths)
    return out, lse


def torch_flash(q: Tensor, k: Tensor, v: Tensor, ranges: Ranges, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
    """FlashAttention-2 as built into PyTorch: the same kernels."""
    starts, keys, lengths, longest_q, longest_k = ranges
    out, lse, *_ = torch.ops.aten._flash_attention_forward(
        q, k, v, starts, keys, longest_q, longest_k, 0.0, causal, False, scale=scale, seqused_k=lengths
    )
    return out, lse


def sdpa(q: Tensor, k: Tensor, v: Tensor, ranges: Ranges, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
    """One range after the other in plain PyTorch, for any device and type; slow. Accumulates in float32."""
    starts, keys, lengths = (x.tolist() for x in ranges[:3])
    out = torch.zeros_like(q)
    lse = torch.full((q.shape[1], q.shape[0]), -torch.inf, device=q.device)
    for first, last, key, length in zip(starts[:-1], starts[1:], keys[:-1], lengths, strict=True):
        if last > first and length:
            shift = length - (last - first) if causal else FULL
            some, sums = range_attention(q[first:last], k[key : key + length], v[key : key + length], shift, scale)
            out[first:last], lse[:, first:last] = some.to(q.dtype), sums
    return out, lse


def range_attention(q: Tensor, k: Tensor, v: Tensor, causal: int, scale: float) -> tuple[Tensor, Tensor]:
    """One range: q [n,H,D], k and v [m,Hkv,D]; query i sees key j when j <= causal + i. -> float out and lse [H,n]."""
    group = q.shape[1] // k.shape[1]
    n, m = q.shape[0], k.shape[0]
    query = q.transpose(0, 1).reshape(k.shape[1], group * n, -1).float()
    scores = torch.matmul(query, k.permute(1, 2, 0).float()).view(k.shape[1], group, n, m) * scale
    if causal < m - 1:
        ahead = torch.ones(n, m, dtype=torch.bool, device=q.device).triu(causal + 1)
        scores = scores.masked_fill(ahead, -torch.inf)
    lse = scores.logsumexp(-1)
    weights = (scores - lse.clamp_min(-1e30).unsqueeze(-1)).exp()
    out = torch.matmul(weights.view(k.shape[1], group * n, m), v.transpose(0, 1).float())
    return out.view(q.shape[1], n, -1).transpose(0, 1), lse.view(q.shape[1], n)


def merged_attention(q: Tensor, k: Tensor, v: Tensor, items: Sequence[Item], scale: float) -> Tensor:
    """The attention of a step in plain PyTorch: the reference for the faster kernels. -> [T,H,D]."""
    out = torch.zeros(q.shape, dtype=torch.float32, device=q.device)
    total = torch.full(q.shape[:2], -torch.inf, device=q.device)
    for token, tokens, key, keys, causal, _ in items:
        if tokens and keys:
            span = slice(token, token + tokens)
            some, lse = range_attention(q[span], k[key : key + keys], v[key : key + keys], causal, scale)
            both = torch.logaddexp(total[span], lse.t())
            old, new = ((x - both.clamp_min(-1e30)).exp().unsqueeze(-1) for x in (total[span], lse.t()))
            out[span] = out[span] * old + some * new
            total[span] = both
    return out.to(q.dtype)


def flash_items(varlen: Varlen, q: Tensor, k: Tensor, v: Tensor, items: Sequence[Item], scale: float) -> Tensor:
    """The attention of a step in two varlen calls: own ranges (causal), then pages. Items must not be split."""
    own = [item for item in items if item.causal != FULL]
    pages = [item for item in items if item.causal == FULL]
    out, lse = varlen(q, k, v, _ranges(own, q), True, scale)
    if not pages:
        return out
    other, other_lse = varlen(q, k, v, _ranges(pages, q), False, scale)
    seen = torch.zeros(q.shape[0], dtype=torch.bool)
    for item in pages:
        seen[item.token : item.token + item.tokens] = True
    there = seen.to(q.device)
    weight = torch.where(there, torch.sigmoid(lse - other_lse), 1.0).t().unsqueeze(-1)
    return (out.float() * weight + torch.where(there[:, None, None], other.float(), 0.0) * (1 - weight)).to(q.dtype)


def _ranges(items: Sequence[Item], q: Tensor) -> Ranges:
    """The kernels need queries without gaps, so tokens between two items become a range without keys."""
    starts, keys, lengths, at = [0], [], [], 0
    for item in sorted(items):
        if item.token > at:
            starts.append(item.token)
            keys.append(0)
            lengths.append(0)
        at = item.token + item.tokens
        starts.append(at)
        keys.append(item.key)
        lengths.append(item.keys)
    if at < q.shape[0]:
        starts.append(q.shape[0])
        keys.append(0)
        lengths.append(0)
    tensor = torch.tensor([*starts, *keys, 0, *lengths], dtype=torch.int32).to(q.device)
    n = len(lengths)
    longest = max(last - first for first, last in pairwise(starts))
    # With a longest query of 1, FlashAttention-2 has another layout of the sums.
    return Ranges(tensor[: n + 1], tensor[n + 1 : 2 * n + 2], tensor[2 * n + 2 :], max(2, longest), max(lengths))


class Choice(NamedTuple):
    """The chosen kernel, and the reasons against the ones before it."""

    name: str
    varlen: Varlen
    passed_over: str
