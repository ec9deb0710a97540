"""An append-only list that keeps old items compressed, for reports of long runs."""

import pickle
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import Generic, TypeVar

Item = TypeVar("Item")
CHUNK = 500  # items that are compressed together: 900 bytes of a report entry become about 100


class CompressedList(Generic[Item]):
    """Items that were compressed come back equal, but not identical."""

    def __init__(self) -> None:
        self._packed: list[bytes] = []
        self._open: list[Item] = []

    def append(self, item: Item) -> None:
        self._open.append(item)
        if len(self._open) == CHUNK:
            self._packed.append(zlib.compress(pickle.dumps(self._open), 1))
            self._open = []

    def __len__(self) -> int:
        return len(self._packed) * CHUNK + len(self._open)

    def __iter__(self) -> Iterator[Item]:
        for packed in self._packed:
            yield from pickle.loads(zlib.decompress(packed))
        yield from self._open

    def first(self, count: int) -> list[Item]:
        return list(islice(self, count))
