"""Which images the vision encoder takes next, and what follows when a pass does not fit. Needs no torch."""

from collections.abc import Iterable
from typing import NamedTuple

from .prefix_cache import PrefixCache
from .sequences import PrefixEntry, Sequence

RECOVERY = 16  # passes without running out of memory, after which the next one may be twice as large again


class EncodeTask(NamedTuple):
    """Image `nth` of a prefix, to be encoded to rows of the image buffer from `row` on."""

    entry: PrefixEntry
    nth: int
    row: int


class VisionScheduler:
    """Images in the order of the age of the sequences that wait for them, as many a pass as `tokens` allow.

    The order is strict, so no young sequence holds buffer rows that an older one waits for.
    """

    def __init__(self, cache: PrefixCache, tokens: int) -> None:
        self.cache, self.tokens, self._most = cache, tokens, tokens
        self._passes = 0

    def next_pass(self, waiting: Iterable[Sequence]) -> list[EncodeTask]:
        """Empty where nothing waits for the encoder, or there are no free rows in the image buffer now."""
        tasks: list[EncodeTask] = []
        tokens = 0
        for sequence in waiting:
            entry = sequence.prefix
            if entry.available or entry.encoding:
                continue
            if entry.image_row is None:
                entry.image_row = self.cache.images.take(entry.image_tokens)
                if entry.image_row is None:
                    break
            for nth in range(entry.encoded_images, len(entry.image_sizes)):
                if tasks and tokens + entry.image_sizes[nth] > self.tokens:
                    return tasks
                tasks.append(EncodeTask(entry, nth, entry.image_row + sum(entry.image_sizes[:nth])))
                entry.encoding = True
                tokens += entry.image_sizes[nth]
        return tasks

    def encoded(self, tasks: Iterable[EncodeTask]) -> None:
        """A pass is queued whole."""
        for entry, nth, _ in tasks:
            entry.encoding, entry.encoded_images = False, nth + 1
            entry.encodings += entry.encoded
        for entry in {id(task.entry): task.entry for task in tasks}.values():
            self.cache.tidy(entry)
        self._passes += 1
        if self._passes >= RECOVERY and self.tokens < self._most:
            self.tokens, self._passes = min(self._most, 2 * self.tokens), 0

    def did_not_fit(self, tasks: list[EncodeTask]) -> PrefixEntry | None:
        """A pass ran out of memory: the next is half as large. -> the prefix whose image does not fit even alone."""
        for entry, _, _ in tasks:
            entry.encoding = False
        self._passes = 0
        if len(tasks) > 1:
            self.tokens = max(1, self.tokens // 2)
            for entry in {id(task.entry): task.entry for task in tasks}.values():
                self.cache.tidy(entry)
            return None
        entry = tasks[0].entry
        self.cache.drop_images(entry)
        return entry
