"""The state of requests in flight: `Sequence` (a question and its answer) and `PrefixEntry` (the pages before it)."""

import hashlib
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engine import Request

# Up to LONGEST_LOOP tokens that repeat for LOOP_TOKENS tokens are a loop. Shorter repetitions are legitimate: the empty
# cells of a table, or rows of nulls, are hundreds of equal tokens.
LOOP_TOKENS, LONGEST_LOOP = 1024, 64


class Stage(Enum):
    """The stage of a sequence. A preempted one is ENCODED again while its pages are cached, else QUEUED."""

    QUEUED = "waits for the vision encoder"
    ENCODED = "waits for memory"
    PREFILLING = "computes its pages or its prompt"
    READY = "decodes"
    FINISHED = "has its reply"


@dataclass(eq=False)
class PrefixEntry:
    """Pages and the prompt before them: encoded once, shared by all questions about them."""

    key: bytes
    source: NDArray[np.int32]  # token ids; images as -(row+1), relative to `image_row`
    positions: NDArray[np.int32]  # [3, n]
    next_position: int
    image_sizes: tuple[int, ...]  # tokens of each image
    images: list[NDArray[np.uint8]]
    serial: int = 0
    image_row: int | None = None  # first row in the buffer of encoded images
    encoded_images: int = 0  # images whose encoding is queued on the device
    encoding: bool = False  # some of its images are in the current vision pass
    start: int | None = None  # first row in the KV cache
    room: int = 0  # rows allocated
    computed: int = 0  # tokens whose keys and values are (queued to be) in the KV cache
    users: int = 0  # running sequences
    waiting: int = 0  # waiting sequences
    preempted: int = 0  # waiting sequences that ran before
    encodings: int = 0  # how many times its images were encoded

    @property
    def length(self) -> int:
        return len(self.source)

    @property
    def filled(self) -> int:
        return self.computed

    @property
    def image_tokens(self) -> int:
        return sum(self.image_sizes)

    @property
    def ready(self) -> bool:
        return self.computed == self.length

    @property
    def encoded(self) -> bool:
        return self.encoded_images == len(self.image_sizes)

    @property
    def available(self) -> bool:
        """Whether the vision encoder has nothing left to do for it."""
        return self.encoded or self.ready


@dataclass(eq=False)
class Sequence:
    """One request. `tokens`: the ids of its prompt after the pages and, from `prompt_length` on, of its answer."""

    request: Request
    prefix: PrefixEntry
    tokens: list[int]
    prompt_length: int
    max_new_tokens: int
    matcher: Any  # llguidance matcher of the schema; None for free text
    low_resolution: bool
    began: float
    kind: str = ""  # answers of one kind have similar lengths, see answer_lengths.py
    serial: int = 0  # age: the order in which requests came
    start: int | None = None  # first row in the KV cache
    room: int = 0
    stored: int = 0  # tokens whose keys and values are (queued to be) in the KV cache
    prefill_to: int = 0  # tokens to prefill in this admission
    running: bool = False  # has memory allocated
    decoding: bool = False  # the prompt is (queued to be) computed
    finished: bool = False
    preemptions: int = 0
    passed: int = 0  # younger sequences admitted while this one waited for memory
    sampled: list[bool] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    free_logprobs: list[float] = field(default_factory=list)
    first_token_s: float = 0.0
    checked_for_loop: int = 0  # tokens of the answer at the last check of `loops`
    reported_s: float = 0.0  # time of the last Partial; infinite once no more follow

    @property
    def stage(self) -> Stage:
        if self.finished:
            return Stage.FINISHED
        if not self.running:
            return Stage.ENCODED if self.prefix.available else Stage.QUEUED
        return Stage.READY if self.decoding else Stage.PREFILLING

    @property
    def filled(self) -> int:
        return self.stored

    @property
    def answered(self) -> int:
        return len(self.tokens) - self.prompt_length

    @property
    def longest(self) -> int:
        """The most rows of its own that it can need."""
        return self.prompt_length + self.max_new_tokens

    @property
    def to_prefill(self) -> int:
        """Tokens to compute before it decodes."""
        return self.prefix.length - self.prefix.computed + max(0, self.prefill_to - self.stored)

    def add(self, tokens: SequenceOf[int], sampled: bool, logprob: float, free: float) -> None:
        self.tokens += tokens
        self.sampled += [sampled] * len(tokens)
        self.logprobs += [logprob] * len(tokens)
        self.free_logprobs += [free] * len(tokens)

    def loops(self) -> bool:
        """Whether the last LOOP_TOKENS tokens of the answer repeat a short piece."""
        if self.answered < max(LOOP_TOKENS, self.checked_for_loop + 16):
            return False
        self.checked_for_loop = self.answered
        tail = np.array(self.tokens[-LOOP_TOKENS:])
        return any(bool((tail[period:] == tail[:-period]).all()) for period in range(1, LONGEST_LOOP + 1))


def pixel_digest(images: SequenceOf[NDArray[np.uint8]]) -> bytes:
    total = hashlib.sha256()
    for image in images:
        total.update(repr(image.shape).encode())
        total.update(image.data)
    return total.digest()


def prefix_key(words: SequenceOf[int], pixels: bytes) -> bytes:
    """A key of the prompt and the pixels: equal keys mean equal keys and values in the KV cache."""
    return hashlib.sha256(np.array(words, dtype=np.int64).tobytes() + pixels).digest()
