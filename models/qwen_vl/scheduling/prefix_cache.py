"""The prefix cache: encoded pages in the KV cache, found by a digest of their pixels. Needs no torch."""

from collections import OrderedDict

from models.qwen_vl.compute.range_allocator import KVMemory, RangeAllocator

from .sequences import PrefixEntry, Sequence

UNUSED, QUEUED, PREEMPTED = range(3)  # priority of an idle prefix, by the sequences that wait for it


class PrefixCache:
    """All known prefixes. A prefix that no running sequence uses is idle and may be evicted."""

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

    # ---- users
    def wait(self, sequence: Sequence) -> None:
        """Register a sequence that waits for its prefix."""
        entry = sequence.prefix
        if entry.key not in self.entries:
            self._serial += 1
            entry.serial = self._serial
            self.entries[entry.key] = entry
        entry.waiting += 1
        entry.preempted += sequence.preemptions > 0

    def unwait(self, sequence: Sequence) -> None:
        """Unregister a waiting sequence. Call `use` or `release_unused` next."""
        sequence.prefix.waiting -= 1
        sequence.prefix.preempted -= sequence.preemptions > 0

    def use(self, entry: PrefixEntry) -> None:
        entry.users += 1
        self.idle.pop(entry.key, None)

    def leave(self, entry: PrefixEntry) -> None:
        entry.users -= 1
        if not entry.users and entry.start is not None:
            self.idle[entry.key] = entry

    def release_unused(self, entry: PrefixEntry) -> None:
        """Drop a prefix without users if it is incomplete; of a complete one, keep only the keys and values."""
        if entry.users or entry.waiting or entry.encoding:
            return
        if entry.ready and (entry.start is not None or not entry.length):
            entry.images = []
            return
        self._drop(entry)

    # ---- memory
    def place(self, entry: PrefixEntry, priority: int) -> bool:
        return self._place(entry, entry.length, False, priority)

    def place_sequence(self, sequence: Sequence, rows: int, priority: int) -> bool:
        return self._place(sequence, rows, True, priority)

    def _place(self, holder: PrefixEntry | Sequence, rows: int, high: bool, priority: int) -> bool:
        """Allocate rows for a holder without any. Evicts idle prefixes up to `priority`; compacts between levels."""
        for level in range(priority + 1):
            while not self.memory.place(holder, rows, high):
                if not self._evict(level):
                    break
            else:
                return True
            if self.memory.can_compact(rows):
                self.memory.compact()
                return self.memory.place(holder, rows, high)
        return False

    def grow(self, sequence: Sequence, rows: int, priority: int) -> bool:
        """Allocate more rows for a running sequence; its stored tokens may move."""
        for level in range(priority + 1):
            while not self.memory.grow(sequence, rows):
                if not self._evict(level):
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
        """Rows of idle prefixes that preempted sequences will use again."""
        return sum(entry.room for entry in self.idle.values() if entry.preempted)

    def _evict(self, level: int) -> bool:
        """Evict the least recently used idle prefix of a priority; at PREEMPTED, the most recently used."""
        order = reversed(self.idle.values()) if level == PREEMPTED else iter(self.idle.values())
        victim = next((entry for entry in order if _priority(entry) == level), None)
        if victim is None:
            return False
        self.evict(victim)
        return True

    def evict(self, entry: PrefixEntry) -> None:
        """Free the rows of an entry. If sequences wait for it, it is computed again, and encoded again if needed."""
        self.idle.pop(entry.key, None)
        self.memory.release(entry)
        entry.computed = 0
        if entry.waiting:
            self.evicted_wanted += 1
        elif not entry.encoding:
            self._drop(entry)

    def drop_images(self, entry: PrefixEntry) -> None:
        """Free the encoded images, once the keys and values are queued or the entry is not needed."""
        if entry.image_row is not None:
            self.images.give_back(entry.image_row, entry.image_tokens)
        entry.image_row, entry.encoded_images = None, 0

    def _drop(self, entry: PrefixEntry) -> None:
        self.idle.pop(entry.key, None)
        self.memory.release(entry)
        self.drop_images(entry)
        entry.computed, entry.images = 0, []
        self.entries.pop(entry.key, None)


def _priority(entry: PrefixEntry) -> int:
    return PREEMPTED if entry.preempted else QUEUED if entry.waiting else UNUSED
