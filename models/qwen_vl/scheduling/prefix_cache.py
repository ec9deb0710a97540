"""The prefixes in the KV cache: found again by their pixels, evicted when memory is needed. Needs no torch."""

from collections import OrderedDict

from models.qwen_vl.compute.range_allocator import KVMemory, RangeAllocator

from .sequences import PrefixEntry, Sequence

UNWANTED, QUEUED, PREEMPTED = range(3)  # how dear an idle prefix is: who waits for it


class PrefixCache:
    """All prefixes that are known. A prefix that no running sequence uses is idle, and may be evicted."""

    def __init__(self, memory: KVMemory, images: RangeAllocator) -> None:
        self.memory, self.images = memory, images
        self.entries: dict[bytes, PrefixEntry] = {}
        self.idle: OrderedDict[bytes, PrefixEntry] = OrderedDict()  # in the KV cache; least recently used first
        self.hits = self.evicted_wanted = 0
        self._serial = 0

    def find(self, key: bytes) -> PrefixEntry | None:
        found = self.entries.get(key)
        self.hits += found is not None
        return found

    # ---- who uses it
    def wait(self, sequence: Sequence) -> None:
        """A sequence begins to wait for its prefix."""
        entry = sequence.prefix
        if entry.key not in self.entries:
            self._serial += 1
            entry.serial = self._serial
            self.entries[entry.key] = entry
        entry.waiting += 1
        entry.preempted += sequence.preemptions > 0

    def unwait(self, sequence: Sequence) -> None:
        """It waits no more. The entry stays as it is: `use` or `tidy` follows."""
        sequence.prefix.waiting -= 1
        sequence.prefix.preempted -= sequence.preemptions > 0

    def use(self, entry: PrefixEntry) -> None:
        entry.users += 1
        self.idle.pop(entry.key, None)

    def leave(self, entry: PrefixEntry) -> None:
        entry.users -= 1
        if not entry.users and entry.start is not None:
            self.idle[entry.key] = entry

    def tidy(self, entry: PrefixEntry) -> None:
        """Forget a prefix that nobody needs and that is not whole; of one that is, keep the keys and values."""
        if entry.users or entry.waiting or entry.encoding:
            return
        if entry.ready and (entry.start is not None or not entry.length):
            entry.images = []
            return
        self._drop(entry)

    # ---- memory
    def place(self, entry: PrefixEntry, dearest: int) -> bool:
        return self._place(entry, entry.length, False, dearest)

    def place_sequence(self, sequence: Sequence, rows: int, dearest: int) -> bool:
        return self._place(sequence, rows, True, dearest)

    def _place(self, holder: PrefixEntry | Sequence, rows: int, high: bool, dearest: int) -> bool:
        """Rows for a holder that has none. Evicts idle prefixes up to `dearest`, and closes gaps before dear ones."""
        for dear in range(dearest + 1):
            while not self.memory.place(holder, rows, high):
                if not self._evict(dear):
                    break
            else:
                return True
            if self.memory.can_compact(rows):
                self.memory.compact()
                return self.memory.place(holder, rows, high)
        return False

    def grow(self, sequence: Sequence, rows: int, dearest: int) -> bool:
        """More rows for a running sequence; what it has stored moves along."""
        for dear in range(dearest + 1):
            while not self.memory.grow(sequence, rows):
                if not self._evict(dear):
                    break
            else:
                return True
            if self.memory.can_compact(rows, sequence):
                self.memory.compact(sequence, rows)
                return True
        return False

    def evictable_rows(self) -> int:
        return sum(entry.room for entry in self.idle.values() if not entry.preempted)

    def kept_rows(self) -> int:
        """Rows of idle prefixes that preempted sequences come back to."""
        return sum(entry.room for entry in self.idle.values() if entry.preempted)

    def _evict(self, dear: int) -> bool:
        """Evict the least recently used idle prefix that is just so dear; of the preempted ones, the youngest."""
        order = reversed(self.idle.values()) if dear == PREEMPTED else iter(self.idle.values())
        victim = next((entry for entry in order if _dearness(entry) == dear), None)
        if victim is None:
            return False
        self.evict(victim)
        return True

    def evict(self, entry: PrefixEntry) -> None:
        """Free its rows. One that somebody waits for is computed again, and encoded again if its images are gone."""
        self.idle.pop(entry.key, None)
        self.memory.release(entry)
        entry.computed = 0
        if entry.waiting:
            self.evicted_wanted += 1
        elif not entry.encoding:
            self._drop(entry)

    def drop_images(self, entry: PrefixEntry) -> None:
        """Its keys and values are (queued to be) in the KV cache, or it is not wanted: the encoded images may go."""
        if entry.image_row is not None:
            self.images.give_back(entry.image_row, entry.image_tokens)
        entry.image_row, entry.encoded_images = None, 0

    def _drop(self, entry: PrefixEntry) -> None:
        self.idle.pop(entry.key, None)
        self.memory.release(entry)
        self.drop_images(entry)
        entry.computed, entry.images = 0, []
        self.entries.pop(entry.key, None)


def _dearness(entry: PrefixEntry) -> int:
    return PREEMPTED if entry.preempted else QUEUED if entry.waiting else UNWANTED
