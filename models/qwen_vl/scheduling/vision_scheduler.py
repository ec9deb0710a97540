"""Chooses the images of each pass of the vision encoder, and halves passes that ran out of memory. Needs no torch."""

from collections.abc import Iterable
from typing import NamedTuple

from .prefix_cache import PrefixCache
from .sequences import PrefixEntry, Sequence

RECOVERY = 16  # passes without running out of memory before the pass size is doubled again


class EncodeTask(NamedTuple):
    """Image `nth` of a prefix, to be encoded to rows of the image buffer from `row` on."""

    entry: PrefixEntry
    nth: int
    row: int


class VisionScheduler:
    """Takes images in the order of the age of the sequences that wait for them, up to `tokens` a pass.

    The order is strict, so that no younger sequence holds buffer rows that an older one waits for.
    """

    def __init__(self, cache: PrefixCache, tokens: int) -> None:
        self.cache, self.tokens, self._most = cache, tokens, tokens
        self._passes = 0

    def next_pass(self, waiting: Iterable[Sequence]) -> list[EncodeTask]:
        """The images of the next pass; empty if none waits, or the image buffer has no free rows."""
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
        """Record that all slices of a pass are queued."""
        for entry, nth, _ in tasks:
            entry.encoding, entry.encoded_images = False, nth + 1
            entry.encodings += entry.encoded
        for entry in {id(task.entry): task.entry for task in tasks}.values():
            self.cache.release_unused(entry)
        self._passes += 1
        if self._passes >= RECOVERY and self.tokens < self._most:
            self.tokens, self._passes = min(self._most, 2 * self.tokens), 0

    def out_of_memory(self, tasks: list[EncodeTask]) -> PrefixEntry | None:
        """Halve the next pass after one ran out of memory. -> the prefix whose image does not fit even alone."""
        for entry, _, _ in tasks:
            entry.encoding = False
        self._passes = 0
        if len(tasks) > 1:
            self.tokens = max(1, self.tokens // 2)
            for entry in {id(task.entry): task.entry for task in tasks}.values():
                self.cache.release_unused(entry)
            return None
        entry = tasks[0].entry
        self.cache.drop_images(entry)
        return entry
