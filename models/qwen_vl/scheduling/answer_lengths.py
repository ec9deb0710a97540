"""Statistics of the answer lengths of each job, kept from run to run. Needs no torch."""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.engine import Request

KEPT = 256  # latest answers of each kind
KINDS = 256  # latest kinds of answers
PRIOR = (1 / 16, 1 / 8, 1 / 4, 1.0)  # before anything is measured: four answers of these shares of the allowed length


def kind_of(request: Request) -> str:
    """The kind of an answer: its job, or the part of the job. Answers of one kind have similar lengths."""
    name = str(request.job.name)
    return name if request.parts == 1 else f"{name}#{request.part}"


class LengthCurve(NamedTuple):
    """outlive[i + 1] is the probability that an answer has more than lengths[i] tokens."""

    lengths: NDArray[np.int64]
    outlive: NDArray[np.float64]

    def alive(
        self, answered: NDArray[np.int64], allowed: NDArray[np.int64], ahead: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """The probability [n, t] that answer n, with `answered` of at most `allowed` tokens, has over `ahead` more."""
        reached = answered[:, None] + np.concatenate([[0], ahead])[None, :]
        longer = self.outlive[np.searchsorted(self.lengths, reached, side="right")]
        longer[reached >= allowed[:, None]] = 0.0
        chance: NDArray[np.float64] = longer[:, 1:] / np.maximum(longer[:, :1], 1e-9)
        return chance


class AnswerLengths:
    """The latest lengths of each kind of answer, in tokens."""

    def __init__(self, seen: Mapping[str, Iterable[int]] | None = None) -> None:
        self._seen = {kind: deque(lengths, KEPT) for kind, lengths in (seen or {}).items()}
        self._sorted: dict[str, NDArray[np.int64]] = {}

    def add(self, kind: str, tokens: int) -> None:
        lengths = self._seen.pop(kind, None) or deque(maxlen=KEPT)
        lengths.append(tokens)
        self._seen[kind] = lengths  # at the end: the latest kind
        if len(self._seen) > KINDS:
            del self._seen[next(iter(self._seen))]
        self._sorted.pop(kind, None)

    def as_dict(self) -> dict[str, list[int]]:
        return {kind: list(lengths) for kind, lengths in self._seen.items()}

    def curve(self, kind: str, under_way: Iterable[int], allowed: int) -> "LengthCurve":
        """The survival curve of the lengths of a kind, by the Kaplan-Meier estimate.

        `under_way`: the lengths so far of answers that have not ended. They count as censored; without them, short
        answers, which end first, would bias the curve.
        """
        prior = [int(allowed * share) for share in PRIOR]
        ended = np.concatenate([np.minimum(self._lengths(kind), allowed), prior])
        lengths, count = np.unique(ended, return_counts=True)
        so_far = np.fromiter(under_way, dtype=np.int64)
        at_risk = np.cumsum(count[::-1])[::-1] + (so_far[None, :] >= lengths[:, None]).sum(1)
        return LengthCurve(lengths, np.concatenate([[1.0], np.cumprod(1 - count / at_risk)]))

    def _lengths(self, kind: str) -> NDArray[np.int64]:
        if kind not in self._sorted:
            self._sorted[kind] = np.sort(np.array(self._seen.get(kind, ()), dtype=np.int64))
        return self._sorted[kind]
