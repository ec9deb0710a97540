"""Allocates ranges of rows in the KV cache and the image buffer. Needs no torch."""

from typing import NamedTuple, Protocol

ALIGN = 16  # rows; ranges begin and end at multiples of it


def aligned(rows: int) -> int:
    return -(-rows // ALIGN) * ALIGN


class RangeAllocator:
    """The free ranges of `rows` rows."""

    def __init__(self, rows: int) -> None:
        self.rows = rows // ALIGN * ALIGN
        self.free: list[tuple[int, int]] = [(0, self.rows)]  # (start, length), sorted, not adjacent

    def take(self, rows: int, high: bool = False) -> int | None:
        """The start of a range of `rows` rows, from the lowest free range that fits (or the highest), or None."""
        rows = aligned(rows)
        order = range(len(self.free) - 1, -1, -1) if high else range(len(self.free))
        for i in order:
            start, length = self.free[i]
            if length >= rows:
                rest = (start, length - rows) if high else (start + rows, length - rows)
                self.free[i : i + 1] = [rest] if length > rows else []
                return start + length - rows if high else start
        return None

    def extend(self, start: int, rows: int, new_rows: int) -> bool:
        """Extend a range in place. False if the rows after it are not free."""
        end, more = start + aligned(rows), aligned(new_rows) - aligned(rows)
        for i, (at, length) in enumerate(self.free):
            if at == end and length >= more:
                self.free[i : i + 1] = [(at + more, length - more)] if length > more else []
                return True
        return more <= 0

    def give_back(self, start: int, rows: int) -> None:
        merged: list[tuple[int, int]] = []
        for at, length in sorted([*self.free, (start, aligned(rows))]):
            if merged and sum(merged[-1]) == at:
                merged[-1] = (merged[-1][0], merged[-1][1] + length)
            else:
                merged.append((at, length))
        self.free = merged

    @property
    def free_rows(self) -> int:
        return sum(length for _, length in self.free)


class Move(NamedTuple):
    """Rows to copy."""

    source: int
    target: int
    rows: int


class Holder(Protocol):
    """The owner of a range of the KV cache: `room` rows from `start` on, the first `filled` of them in use."""

    start: int | None
    room: int

    @property
    def filled(self) -> int: ...


class KVMemory:
    """Allocates prefixes from the low end and sequences from the high end, so that similar sizes reuse their gaps.

    `moves`: the copies before the next step, batch after batch; the copies of one batch happen all at once.
    """

    def __init__(self, rows: int) -> None:
        self.allocator = RangeAllocator(rows)
        self.rows = self.allocator.rows
        self.moves: list[list[Move]] = []
        self.compactions = self.moved_rows = 0
        self._holders: dict[int, tuple[Holder, bool]] = {}

    @property
    def free_rows(self) -> int:
        return self.allocator.free_rows

    def place(self, holder: Holder, rows: int, high: bool) -> bool:
        start = self.allocator.take(rows, high)
        if start is None:
            return False
        holder.start, holder.room = start, rows
        self._holders[id(holder)] = holder, high
        return True

    def release(self, holder: Holder) -> None:
        if holder.start is not None:
            self.allocator.give_back(holder.start, holder.room)
            holder.start, holder.room = None, 0
            del self._holders[id(holder)]

    def grow(self, holder: Holder, rows: int) -> bool:
        """Grow a holder's range to `rows` rows, in place or by a move."""
        assert holder.start is not None
        if self.allocator.extend(holder.start, holder.room, rows):
            holder.room = rows
            return True
        start = self.allocator.take(rows, high=True)
        if start is None:
            return False
        self._move([Move(holder.start, start, holder.filled)])
        self.allocator.give_back(holder.start, holder.room)
        holder.start, holder.room = start, rows
        return True

    def can_compact(self, rows: int, holder: Holder | None = None) -> bool:
        """Whether `rows` rows (for `holder`, instead of its own) fit after compaction."""
        return aligned(rows) - (aligned(holder.room) if holder is not None else 0) <= self.free_rows

    def compact(self, holder: Holder | None = None, rows: int = 0) -> None:
        """Close all gaps, and give `holder` `rows` rows. Requires `can_compact`."""
        if holder is not None:
            holder_rows, holder.room = holder.room, rows
        batch: list[Move] = []
        ordered = sorted(self._holders.values(), key=lambda held: held[0].start or 0)
        low, high = 0, self.rows
        for held, _ in [each for each in ordered if not each[1]]:
            low = self._place_at(held, low, batch) + aligned(held.room)
        for held, _ in [each for each in reversed(ordered) if each[1]]:
            high = self._place_at(held, high - aligned(held.room), batch)
        assert low <= high, holder_rows if holder is not None else ""
        self.allocator.free = [(low, high - low)] if high > low else []
        self.compactions += 1
        self._move(batch)

    def _place_at(self, holder: Holder, start: int, batch: list[Move]) -> int:
        if holder.start != start:
            batch.append(Move(holder.start or 0, start, holder.filled))
            holder.start = start
        return start

    def _move(self, batch: list[Move]) -> None:
        batch = [move for move in batch if move.rows]
        if batch:
            self.moves.append(batch)
            self.moved_rows += sum(move.rows for move in batch)

    def take_moves(self) -> list[list[Move]]:
        moves, self.moves = self.moves, []
        return moves
