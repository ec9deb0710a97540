"""What the engine keeps of pages and answers under way."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.qwen_vl.compute.kv_cache import Pool, RangeAllocator
from pipeline.types import Request

LOOP_TOKENS, LONGEST_LOOP = 256, 64  # so many tokens that repeat with a period up to this are a loop, not an answer


@dataclass(eq=False)
class Sight:
    """Some pictures with the words before them: looked at once, shared by all questions about them."""

    key: bytes
    images: list[NDArray[np.uint8]]
    source: NDArray[np.int32]  # token ids; pictures as -(row+1), counted from `image_row` once that is known
    positions: NDArray[np.int32]  # [3, n]
    next_position: int
    image_tokens: int
    serial: int = 0
    image_row: int | None = None  # first row in the buffer of encoded pictures
    seen: bool = False  # the vision tower's work is queued
    start: int | None = None  # first row in the pool
    done: int = 0  # tokens whose keys and values are (queued to be) in the pool
    users: int = 0

    @property
    def ready(self) -> bool:
        return self.done == len(self.source)


@dataclass(eq=False)
class Answer:
    """One request under way. `tokens` are the question's ids and, from `asked` on, the answer's."""

    request: Request
    sight: Sight
    tokens: list[int]
    asked: int
    most: int  # tokens that the answer may have
    matcher: Any
    small: bool  # asked in low resolution
    began: float
    serial: int = 0
    start: int | None = None
    room: int = 0
    stored: int = 0
    sampled: list[bool] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    free_logprobs: list[float] = field(default_factory=list)
    first_token_s: float = 0.0
    looked_at: int = 0  # tokens of the answer when `loops` last looked
    told_s: float = 0.0  # when it was last told how far it is; infinite once no more is to be told

    @property
    def answered(self) -> int:
        return len(self.tokens) - self.asked

    def add(self, tokens: Sequence[int], sampled: bool, logprob: float, free: float) -> None:
        self.tokens += tokens
        self.sampled += [sampled] * len(tokens)
        self.logprobs += [logprob] * len(tokens)
        self.free_logprobs += [free] * len(tokens)

    def loops(self) -> bool:
        """The last LOOP_TOKENS tokens of the answer are one piece over and over."""
        if self.answered < max(LOOP_TOKENS, self.looked_at + 16):
            return False
        self.looked_at = self.answered
        tail = np.array(self.tokens[-LOOP_TOKENS:])
        return any(bool((tail[period:] == tail[:-period]).all()) for period in range(1, LONGEST_LOOP + 1))


def pixel_digest(images: Sequence[NDArray[np.uint8]]) -> bytes:
    total = hashlib.sha256()
    for image in images:
        total.update(repr(image.shape).encode())
        total.update(image.data)
    return total.digest()


def sight_key(words: Sequence[int], pixels: bytes) -> bytes:
    """The same pixels under the same words give the same keys and values."""
    return hashlib.sha256(np.array(words, dtype=np.int64).tobytes() + pixels).digest()


class Album:
    """All sights known now; those that nobody asks about stay until their room is needed, least recently used first."""

    def __init__(self, pool: Pool, pictures: RangeAllocator) -> None:
        self.pool, self.pictures = pool, pictures
        self.sights: dict[bytes, Sight] = {}
        self.idle: OrderedDict[bytes, Sight] = OrderedDict()
        self.hits = 0
        self._serial = 0

    def find(self, key: bytes) -> Sight | None:
        found = self.sights.get(key)
        self.hits += found is not None
        return found

    def add(self, sight: Sight) -> None:
        self._serial += 1
        sight.serial = self._serial
        self.sights[sight.key] = sight

    def use(self, sight: Sight) -> None:
        sight.users += 1
        self.idle.pop(sight.key, None)

    def leave(self, sight: Sight) -> None:
        sight.users -= 1
        if not sight.users:
            self.idle[sight.key] = sight
            if not sight.ready:
                self.forget(sight)

    def forget(self, sight: Sight) -> None:
        """Its room in the pool is free again. A sight that somebody asks about only loses what was computed."""
        if sight.start is not None:
            self.pool.give_back(sight.start, len(sight.source))
            sight.start = None
        self.drop_pictures(sight)
        sight.done = 0
        if not sight.users:
            self.idle.pop(sight.key, None)
            self.sights.pop(sight.key, None)

    def take(self, rows: int) -> int | None:
        """Rows of the pool; idle sights make room."""
        while (start := self.pool.take(rows)) is None and self.idle:
            self.forget(next(iter(self.idle.values())))
        return start

    def drop_pictures(self, sight: Sight) -> None:
        """Its keys and values are (queued to be) in the pool, or it is not wanted: the encoded pictures may go."""
        if sight.image_row is not None:
            self.pictures.give_back(sight.image_row, sight.image_tokens)
        sight.image_row, sight.seen = None, False
