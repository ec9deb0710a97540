"""The KV cache: one tensor of rows, allocated by the scheduler."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .range_allocator import ALIGN, Move

COPY_BYTES = 64 << 20  # at most, for the temporary tensors of a copy of many ranges


class KVCache:
    """kv is [layers, 2, key heads, rows, size]; padding tokens write to the row `waste`."""

    def __init__(self, layers: int, heads: int, size: int, rows: int, dtype: torch.dtype, device: torch.device) -> None:
        self.rows = rows // ALIGN * ALIGN
        self.kv: Tensor = torch.zeros(layers, 2, heads, self.rows + ALIGN, size, dtype=dtype, device=device)
        self.waste = self.rows

    @torch.inference_mode()
    def apply(self, moves: Sequence[Move]) -> None:
        """Copy rows, all at once: the target of one move may be the source of another."""
        if len(moves) == 1 and abs(moves[0].source - moves[0].target) >= moves[0].rows:
            source, target, rows = moves[0]
            self.kv[:, :, :, target : target + rows].copy_(self.kv[:, :, :, source : source + rows])
            return
        sources = torch.cat([torch.arange(move.source, move.source + move.rows) for move in moves])
        targets = torch.cat([torch.arange(move.target, move.target + move.rows) for move in moves])
        both = torch.stack([sources, targets])
        if self.kv.is_cuda:
            both = both.pin_memory().to(self.kv.device, non_blocking=True)
        planes = self.kv.flatten(0, 2)
        at_once = max(1, COPY_BYTES // (len(sources) * self.kv.shape[-1] * self.kv.element_size()))
        for some in planes.split(at_once):
            some.index_copy_(1, both[1], some.index_select(1, both[0]))


def row_bytes(layers: int, heads: int, size: int, dtype: torch.dtype) -> int:
    """Bytes of one token's keys and values; 56 KiB for the 7B in bfloat16."""
    return layers * 2 * heads * size * dtype.itemsize
