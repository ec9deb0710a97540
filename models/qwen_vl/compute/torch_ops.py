"""The operations of a step except matrix products, in plain PyTorch; triton_ops.py has fused versions."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .attention import Choice, Item, flash_items, merged_attention


class Plain:
    """The operations for any device and type. They round at the same places as transformers."""

    graphs = False  # whether a step can be captured in a CUDA graph
    tile_rows = 0  # 0: items are not split into tiles

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self.name = choice.name

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.float()
        return weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype)

    def add_rms_norm(self, x: Tensor, more: Tensor, weight: Tensor, eps: float) -> Tensor:
        """x += more, in place. -> the norm of the sum."""
        x += more
        return self.rms_norm(x, weight, eps)

    def silu_mul(self, gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, -1)
        return F.silu(gate) * up

    def rotate(self, qk: Tensor, cos: Tensor, sin: Tensor) -> None:
        """Rotary embedding, in place: qk [T, heads, D] (may be a strided view), cos and sin float32 [T, D/2]."""
        half = qk.shape[-1] // 2
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
        a, b = qk[..., :half].float(), qk[..., half:].float()
        qk[..., :half], qk[..., half:] = (a * cos - b * sin).to(qk.dtype), (b * cos + a * sin).to(qk.dtype)

    def rotate_store(self, qkv: Tensor, cos: Tensor, sin: Tensor, rows: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Rotate q and k of qkv [T, heads, D] in place, write k and v to `rows` of the KV cache [Hkv, N, D]. -> q."""
        kv = k.shape[0]
        self.rotate(qkv[:, :-kv], cos, sin)
        k.index_copy_(1, rows.long(), qkv[:, -2 * kv : -kv].transpose(0, 1))
        v.index_copy_(1, rows.long(), qkv[:, -kv:].transpose(0, 1))
        return qkv[:, : -2 * kv]

    def attend(self, q: Tensor, k: Tensor, v: Tensor, items: Sequence[Item], scale: float) -> Tensor:
        """q [T,H,D] against the KV cache k, v [Hkv,N,D] -> [T, H*D]."""
        keys, values = k.transpose(0, 1), v.transpose(0, 1)
        if self.choice.name == "sdpa":
            return merged_attention(q, keys, values, items, scale).flatten(1)
        return flash_items(self.choice.varlen, q, keys, values, items, scale).flatten(1)

    def sample(self, logits: Tensor, allowed: Tensor, constrained: bool) -> Tensor:
        """The best allowed token of each row, with its log-probability among the allowed and among all tokens.

        logits [S, V]; allowed int32 [S, ceil(V/32)], a bit a token. -> int32 [3, S]; rows 1 and 2 are float32 bits.
        """
        logits = logits.float()
        free = logits.logsumexp(-1)
        if constrained:
            bit = torch.arange(32, device=logits.device, dtype=torch.int32)
            keep = ((allowed.unsqueeze(-1) >> bit) & 1).bool().flatten(1)[:, : logits.shape[1]]
            logits = logits.masked_fill(~keep, -torch.inf)
        best = logits.max(-1)
        among = logits.logsumexp(-1) if constrained else free
        scores = torch.stack([best.values - among, best.values - free])
        return torch.cat([best.indices.int().unsqueeze(0), scores.view(torch.int32)])
