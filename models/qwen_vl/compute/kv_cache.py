"""The key-value pool: one tensor, and the free ranges of its rows."""

import torch
from torch import Tensor

ALIGN = 16  # rows; ranges begin and end on whole multiples


class RangeAllocator:
    """A range allocator. The first range that fits: pages are long and answers short, so few holes stay."""

    def __init__(self, rows: int) -> None:
        self.rows = rows // ALIGN * ALIGN
        self.free: list[tuple[int, int]] = [(0, self.rows)]  # (start, length), in order, never touching

    def take(self, rows: int) -> int | None:
        """The start of a free range, or None."""
        rows = -(-rows // ALIGN) * ALIGN
        for i, (start, length) in enumerate(self.free):
            if length >= rows:
                self.free[i : i + 1] = [(start + rows, length - rows)] if length > rows else []
                return start
        return None

    def give_back(self, start: int, rows: int) -> None:
        rows = -(-rows // ALIGN) * ALIGN
        merged: list[tuple[int, int]] = []
        for at, length in sorted([*self.free, (start, rows)]):
            if merged and sum(merged[-1]) == at:
                merged[-1] = (merged[-1][0], merged[-1][1] + length)
            else:
                merged.append((at, length))
        self.free = merged

    @property
    def free_rows(self) -> int:
        return sum(length for _, length in self.free)


class Pool(RangeAllocator):
    """kv is [layers, 2, key heads, rows, size]; the row `waste` takes what padding tokens write."""

    def __init__(self, layers: int, heads: int, size: int, rows: int, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__(rows)
        self.kv: Tensor = torch.zeros(layers, 2, heads, self.rows + ALIGN, size, dtype=dtype, device=device)
        self.waste = self.rows

    def move(self, source: int, target: int, rows: int) -> None:
        """Copies rows to another place; the two may not overlap."""
        self.kv[:, :, :, target : target + rows].copy_(self.kv[:, :, :, source : source + rows])


def row_bytes(layers: int, heads: int, size: int, dtype: torch.dtype) -> int:
    """Bytes of one token's keys and values; 56 KiB for the 7B in bfloat16."""
    return layers * 2 * heads * size * dtype.itemsize
