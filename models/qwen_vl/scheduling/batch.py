"""The tokens of one step, packed: pages being read come first, then answers, those about one page side by side."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.qwen_vl.compute.model_runner import Span

from .sequences import Answer, Sight


class Part(NamedTuple):
    """Some tokens of an answer or a sight that go into the next step."""

    owner: Answer | Sight
    tokens: int


class Packed(NamedTuple):
    """What the stepper takes, for `parts` in their order. `last` are the places of the tokens after which `sampled`
    go on."""

    parts: list[Part]
    source: list[int]
    positions: NDArray[np.int32]  # [3, n]
    rows: list[int]
    spans: list[Span]
    last: list[int]
    sampled: list[Answer]


def pack(parts: Iterable[Part]) -> Packed:
    """Changes nothing. Every owner has its room in the pool."""
    ordered = sorted(parts, key=lambda part: _order(part.owner))
    source: list[int] = []
    positions: list[NDArray[np.int32]] = []
    rows: list[int] = []
    spans: list[Span] = []
    last: list[int] = []
    sampled: list[Answer] = []
    for owner, tokens in ordered:
        if isinstance(owner, Sight):
            assert owner.start is not None
            first, here = owner.done, slice(owner.done, owner.done + tokens)
            ids = owner.source[here]
            source += np.where(ids < 0, ids - (owner.image_row or 0), ids).tolist()
            positions.append(owner.positions[:, here])
            rows += range(owner.start + first, owner.start + first + tokens)
            spans.append(Span(tokens, owner.start, first))
            continue
        sight, first = owner.sight, owner.stored
        assert owner.start is not None
        source += owner.tokens[first : first + tokens]
        at = sight.next_position + first
        positions.append(np.broadcast_to(np.arange(at, at + tokens, dtype=np.int32), (3, tokens)))
        rows += range(owner.start + first, owner.start + first + tokens)
        spans.append(Span(tokens, owner.start, first, sight.start or 0, len(sight.source)))
        if first + tokens == len(owner.tokens):
            last.append(len(source) - 1)
            sampled.append(owner)
    return Packed(ordered, source, np.concatenate(positions, axis=1), rows, spans, last, sampled)


def _order(owner: Answer | Sight) -> tuple[int, int]:
    return (owner.sight.serial, owner.serial) if isinstance(owner, Answer) else (-1, owner.serial)
