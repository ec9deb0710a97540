"""The tokens of one step, packed: pages to compute come first, then sequences, those about one page side by side."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.qwen_vl.compute.model_runner import Span

from .scheduler import Part
from .sequences import PrefixEntry, Sequence


class Batch(NamedTuple):
    """What the model runner takes, for `parts` in their order. `last` are the places of the tokens after which
    `sampled` go on."""

    parts: list[Part]
    source: list[int]
    positions: NDArray[np.int32]  # [3, n]
    rows: list[int]
    spans: list[Span]
    last: list[int]
    sampled: list[Sequence]


def pack(parts: Iterable[Part]) -> Batch:
    """Changes nothing. Every owner has its rows in the KV cache."""
    ordered = sorted(parts, key=lambda part: _order(part.owner))
    source: list[int] = []
    positions: list[NDArray[np.int32]] = []
    rows: list[int] = []
    spans: list[Span] = []
    last: list[int] = []
    sampled: list[Sequence] = []
    for owner, tokens in ordered:
        assert owner.start is not None
        if isinstance(owner, PrefixEntry):
            first, here = owner.computed, slice(owner.computed, owner.computed + tokens)
            ids = owner.source[here]
            source += np.where(ids < 0, ids - (owner.image_row or 0), ids).tolist()
            positions.append(owner.positions[:, here])
            rows += range(owner.start + first, owner.start + first + tokens)
            spans.append(Span(tokens, owner.start, first))
            continue
        prefix, first = owner.prefix, owner.stored
        source += owner.tokens[first : first + tokens]
        at = prefix.next_position + first
        positions.append(np.broadcast_to(np.arange(at, at + tokens, dtype=np.int32), (3, tokens)))
        rows += range(owner.start + first, owner.start + first + tokens)
        spans.append(Span(tokens, owner.start, first, prefix.start or 0, prefix.length))
        if first + tokens == len(owner.tokens):
            last.append(len(source) - 1)
            sampled.append(owner)
    return Batch(ordered, source, np.concatenate(positions, axis=1), rows, spans, last, sampled)


def _order(owner: Sequence | PrefixEntry) -> tuple[int, int]:
    return (owner.prefix.serial, owner.serial) if isinstance(owner, Sequence) else (-1, owner.serial)
