"""Packs the tokens of one step: pages first, then sequences, those about the same page next to each other."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.qwen_vl.compute.model_runner import TokenSpan

from .sequences import PrefixEntry, Sequence
from .step import Part


class Batch(NamedTuple):
    """The input of the model runner for `parts`, in this order. `last`: the index of the last token of each sequence in
    `sampled`."""

    parts: list[Part]
    source: list[int]
    positions: NDArray[np.int32]  # [3, n]
    rows: list[int]
    spans: list[TokenSpan]
    last: list[int]
    sampled: list[Sequence]


def pack(parts: Iterable[Part]) -> Batch:
    """Pack parts whose owners have rows in the KV cache. Changes no owner."""
    ordered = sorted(parts, key=_order)
    source: list[int] = []
    of_pages: list[NDArray[np.int32]] = []
    of_text: list[int] = []
    rows: list[int] = []
    spans: list[TokenSpan] = []
    last: list[int] = []
    sampled: list[Sequence] = []
    for owner, tokens in ordered:
        assert owner.start is not None
        if isinstance(owner, PrefixEntry):
            first, here = owner.computed, slice(owner.computed, owner.computed + tokens)
            ids = owner.source[here]
            source += np.where(ids < 0, ids - (owner.image_row or 0), ids).tolist()
            of_pages.append(owner.positions[:, here])
            rows += range(owner.start + first, owner.start + first + tokens)
            spans.append(TokenSpan(tokens, owner.start, first))
            continue
        prefix, first = owner.prefix, owner.stored
        source += owner.tokens[first : first + tokens]  # text follows all pages
        at = prefix.next_position + first
        of_text += range(at, at + tokens)
        rows += range(owner.start + first, owner.start + first + tokens)
        spans.append(TokenSpan(tokens, owner.start, first, prefix.start or 0, prefix.length))
        if first + tokens == len(owner.tokens):
            last.append(len(source) - 1)
            sampled.append(owner)
    text = np.broadcast_to(np.array(of_text, dtype=np.int32), (3, len(of_text)))
    return Batch(ordered, source, np.concatenate([*of_pages, text], axis=1), rows, spans, last, sampled)


def _order(part: Part) -> tuple[int, int]:
    owner = part.owner
    return (owner.prefix.serial, owner.serial) if isinstance(owner, Sequence) else (-1, owner.serial)
