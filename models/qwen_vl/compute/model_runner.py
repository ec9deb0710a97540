"""Runs the language model over packed batches of tokens; on a GPU, as CUDA graphs.

All inputs of a step are copied in one buffer of integers. Graphs exist for a few sizes; a step is padded to the next.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .attention import FULL, Item
from .kv_cache import KVCache
from .language_model import Language

SIZES = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)  # tokens of a step
ROWS = (8, 32, 64, 128, 256)  # tokens sampled in a step
SHORT_RANGE, LONG_RANGE = 512, 1024  # keys of one item, for decode and for prompts


class TokenSpan(NamedTuple):
    """`tokens` neighbouring tokens of the batch. They follow `stored` tokens at `own` in the KV cache.

    All of them attend to the whole page of `page_rows` rows at `page`. Spans of one page should be adjacent.
    """

    tokens: int
    own: int
    stored: int
    page: int = 0
    page_rows: int = 0


def cut(spans: Sequence[TokenSpan], tile: int = 0, short: int = 0, most: int = 4) -> tuple[list[Item], list[int]]:
    """The items of a batch, and the number of items of each token.

    tile: the most tokens of an item (0: any number, never split). short: the most tokens of a short item. most: the
    most items that a range is split into.
    """
    items: list[Item] = []
    counts = [0] * sum(span.tokens for span in spans)

    def add(first: int, tokens: int, key: int, stored: int, causal: bool) -> None:
        for at in range(first, first + tokens, tile or tokens):
            n = min(tile or tokens, first + tokens - at)
            keys = stored + (at - first + n if causal else 0)
            parts = min(most, -(-keys // (SHORT_RANGE if tokens <= short else LONG_RANGE))) if tile else 1
            each = -(-keys // (parts * 64)) * 64 if parts > 1 else keys
            before = counts[at]
            for part, start in enumerate(range(0, keys, each)):
                shift = stored + (at - first) - start if causal else FULL
                items.append(Item(at, n, key + start, min(each, keys - start), shift, before + part))
            counts[at : at + n] = [before + -(-keys // each)] * n

    token = 0
    first, tokens, page, rows = 0, 0, 0, 0
    for span in spans:
        if (span.page, span.page_rows) != (page, rows):
            if rows:
                add(first, tokens, page, rows, False)
            first, tokens, page, rows = token, 0, span.page, span.page_rows
        tokens += span.tokens
        token += span.tokens
    if rows:
        add(first, tokens, page, rows, False)
    token = 0
    for span in spans:
        add(token, span.tokens, span.own, span.stored, True)
        token += span.tokens
    return items, counts


class AttentionWork(NamedTuple):
    """The items of a step on the device, in the layout of the Triton kernels."""

    short: Tensor
    long: Tensor
    part_rows: Tensor
    counts: Tensor
    parts: Tensor
    sums: Tensor


class Prepared(NamedTuple):
    """A pass whose inputs are in one of the host buffers, up to `end`. `items`: used without graphs."""

    size: int
    end: int
    items: list[Item]


class ModelRunner:
    """Runs steps of up to `tokens` tokens, and samples the next token of up to `rows` of them."""

    def __init__(self, language: Language, cache: KVCache, images: Tensor, tokens: int, rows: int) -> None:
        self.language, self.cache, self.images = language, cache, images
        self.ops, self.device = language.ops, images.device
        self.sizes = [*(size for size in SIZES if size < tokens), tokens]
        self.row_sizes = [*(size for size in ROWS if size < rows), rows]
        self.tile = self.ops.tile_rows // (language.heads // language.kv_heads)
        self.short = getattr(self.ops, "short_rows", 0) // (language.heads // language.kv_heads)
        self.words = -(-language.head.shape[0] // 32)
        room = rows + self._offsets(tokens)[-1]
        cuda = self.device.type == "cuda"
        make = lambda *shape: torch.zeros(*shape, dtype=torch.int32, pin_memory=cuda)  # noqa: E731
        self._hosts = [make(room), make(room)]  # two: one is filled while the other is copied
        self._copied: list[Any] = [None, None]
        self._turn = 0
        self.ints = torch.zeros(room, dtype=torch.int32, device=self.device)
        self.hidden = torch.zeros(tokens, images.shape[1], dtype=images.dtype, device=self.device)
        self._allowed_host, self._answer_host = make(rows, self.words), make(3 * rows)
        self.allowed = self._allowed_host.numpy()  # fill rows of this before `sample`
        self._allowed = torch.full((rows, self.words), -1, dtype=torch.int32, device=self.device)
        if self.ops.graphs:
            self.most_parts = 1024 + 4 * tokens
            shape = (self.most_parts, language.heads, language.size)
            self._parts = torch.zeros(shape, device=self.device)
            self._sums = torch.zeros(shape[:2], device=self.device)
        self._graphs: dict[Any, tuple[Any, Tensor | None]] = {}
        self._memory: Any = None
        self._answered: Any = None

    def _offsets(self, size: int) -> list[int]:
        """The ends of the parts of the buffer for a step of `size` tokens, relative to the end of the sampled rows."""
        short, long = self._room(size)
        ends, at = [], 0
        for part in (size, 3 * size, size, size, size, short * 6, long * 6):
            at += part
            ends.append(at)
        return ends

    def _room(self, size: int) -> tuple[int, int]:
        """The most short and long items of a step; unsplit items always fit."""
        return (min(8 * size, max(1024, 2 * size)), min(8 * size, max(512, size))) if self.ops.graphs else (0, 0)

    def run(self, source: Sequence[int], positions: NDArray[np.int32], rows: Sequence[int],
            spans: Sequence[TokenSpan], last: Sequence[int]) -> None:  # fmt: skip
        """`prepare` and `forward` at once."""
        self.forward(self.prepare(positions, rows, spans, last), source)

    def prepare(self, positions: NDArray[np.int32], rows: Sequence[int], spans: Sequence[TokenSpan],
                last: Sequence[int]) -> "Prepared":  # fmt: skip
        """Write all inputs of a pass but its tokens to a host buffer; another pass may run meanwhile.

        The next `prepare` overwrites it. positions, rows: see Language.forward; last: the tokens to sample after.
        """
        tokens = len(rows)
        size = next(size for size in self.sizes if size >= tokens)
        host = self._hosts[self._turn].numpy()
        if self._copied[self._turn] is not None:
            self._copied[self._turn].synchronize()
        ends = [end + self.row_sizes[-1] for end in self._offsets(size)]
        host[: len(last)] = last
        at = self.row_sizes[-1]
        host[at : ends[-1]] = 0
        host[ends[0] : ends[1]].reshape(3, size)[:, :tokens] = positions
        host[ends[1] : ends[2]] = self.cache.waste
        host[ends[1] : ends[1] + tokens] = rows
        items: list[Item] = []
        if self.ops.graphs:
            self._write_items(host, ends, size, spans)
        else:
            items, _ = cut(spans, self.tile, self.short)
        return Prepared(size, ends[-1], items)

    @torch.inference_mode()
    def forward(self, prepared: "Prepared", source: Sequence[int]) -> None:
        """Queue the pass that was prepared last. source: see Language.forward."""
        size, end, items = prepared
        turn, at = self._turn, self.row_sizes[-1]
        self._turn = 1 - turn
        self._hosts[turn].numpy()[at : at + len(source)] = source
        self.ints[:end].copy_(self._hosts[turn][:end], non_blocking=True)
        if self.device.type == "cuda":
            self._copied[turn] = torch.cuda.Event()
            self._copied[turn].record()
        if not self.ops.graphs:
            self._pass(size, items)
        elif ("step", size) in self._graphs:
            self._graphs["step", size][0].replay()
        else:
            self._pass(size, self._work(size))

    def _write_items(self, host: NDArray[np.int32], ends: list[int], size: int, spans: Sequence[TokenSpan]) -> None:
        short_room, long_room = self._room(size)
        for most in (4, 2, 1):
            items, counts = cut(spans, self.tile, self.short, most)
            short = [item for item in items if item.tokens <= self.short]
            long = [item for item in items if item.tokens > self.short]
            if len(short) <= short_room and len(long) <= long_room and sum(counts) <= self.most_parts:
                break
        host[ends[2] + 1 : ends[2] + len(counts)] = np.cumsum(counts[:-1])
        host[ends[3] : ends[3] + len(counts)] = counts
        for table, start in ((short, ends[4]), (long, ends[5])):
            if table:
                host[start : start + 6 * len(table)] = np.array(table, dtype=np.int32).ravel()

    def _work(self, size: int) -> AttentionWork:
        ends = [end + self.row_sizes[-1] for end in self._offsets(size)]
        cuts = [self.ints[first:last] for first, last in pairwise(ends)]
        return AttentionWork(cuts[4].view(-1, 6), cuts[5].view(-1, 6), cuts[2], cuts[3], self._parts, self._sums)

    def _pass(self, size: int, work: Any) -> None:
        ends = [end + self.row_sizes[-1] for end in self._offsets(size)]
        source, positions = self.ints[self.row_sizes[-1] : ends[0]], self.ints[ends[0] : ends[1]].view(3, size)
        rows = self.ints[ends[1] : ends[2]]
        self.hidden[:size] = self.language.forward(source, positions, rows, work, self.images, self.cache.kv)

    @torch.inference_mode()
    def sample(self, rows: int, constrained: bool) -> None:
        """Queue the sampling after the `last` tokens of the step; constrained by the first rows of `allowed`, if so."""
        size = next(size for size in self.row_sizes if size >= rows) if self.ops.graphs else rows
        if constrained:
            self._allowed[:rows].copy_(self._allowed_host[:rows], non_blocking=True)
        graph, out = self._graphs.get(("rows", size, constrained), (None, None))
        if graph is not None and out is not None:
            graph.replay()
        else:
            out = self._choose(size, constrained)
        self._answer = self._answer_host[: 3 * size].view(3, size)
        self._answer.copy_(out, non_blocking=True)
        if self.device.type == "cuda":
            self._answered = torch.cuda.Event()
            self._answered.record()

    def _choose(self, size: int, constrained: bool) -> Tensor:
        return self.language.answer(self.hidden[self.ints[:size]], self._allowed[:size], constrained)

    def answers(self, rows: int) -> tuple[list[int], list[float], list[float]]:
        """Wait for `sample`: tokens, log-probabilities among the allowed tokens, and among all tokens."""
        if self._answered is not None:
            self._answered.synchronize()
        tokens = self._answer[0, :rows].tolist()
        scores = self._answer[1:].view(torch.float32)[:, :rows].tolist()
        return tokens, scores[0], scores[1]

    @torch.inference_mode()
    def capture(self) -> None:
        """Capture the graphs, the largest first so that the smaller ones share its memory. The device must be idle."""
        if not self.ops.graphs:
            return
        self.ints.zero_()
        for size in reversed(self.sizes):
            self._capture(("step", size), lambda size=size: self._pass(size, self._work(size)))
        for size in reversed(self.row_sizes):
            for constrained in (False, True):
                self._capture(("rows", size, constrained), lambda size=size, c=constrained: self._choose(size, c))
        self.cache.kv[:, :, :, 0].zero_()  # written during the capture

    def _capture(self, key: Any, run: Any) -> None:
        run()  # compiles kernels and initializes cuBLAS, which cannot be captured
        torch.cuda.synchronize(self.device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._memory):
            out = run()
        self._memory = self._memory or graph.pool()
        self._graphs[key] = (graph, out)
