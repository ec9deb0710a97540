"""The one ranker: a candidate's score is the sum of its features, each times a weight; the weights are readable data.

`weights.yaml` holds them, one table a kind of field. "Nothing" is a candidate too, with the weight `none`, so a
field may stay empty. `fit` learns weights from answered documents (corrections), pulled towards the ones it started
from.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

from models.ocr.candidates.context import Candidate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Weights = Mapping[str, Mapping[str, float]]
NONE = "none"


@dataclass(frozen=True, slots=True)
class Ranked:
    """A value with its share of the belief: `belief` sums over all places that give this value, `second` is the next
    value's."""

    candidate: Candidate
    belief: float
    second: float
    nothing: float
    score: float


@dataclass(frozen=True, slots=True)
class Example:
    """The candidates of one field of one document, and which of them are right (none right: nothing is)."""

    candidates: Sequence[Candidate]
    right: Sequence[bool]


@lru_cache(maxsize=1)
def shipped() -> Weights:
    """The weights that come with the engine."""
    import yaml

    read: Weights = yaml.safe_load(files("models.ocr.candidates").joinpath("weights.yaml").read_text("utf-8"))
    return read


def score(candidate: Candidate, weights: Mapping[str, float]) -> float:
    """The weighted sum of a candidate's features."""
    return sum(weights.get(name, 0.0) * value for name, value in candidate.features.items())


def rank(candidates: Sequence[Candidate], weights: Mapping[str, float]) -> list[Ranked]:
    """Every distinct value, the most believed first, each at its best place."""
    if not candidates:
        return []
    scores = [score(candidate, weights) for candidate in candidates]
    empty = weights.get(NONE, 0.0)
    top = max(*scores, empty)
    powers = [math.exp(one - top) for one in scores]
    nothing = math.exp(empty - top)
    total = sum(powers) + nothing
    belief: dict[str, float] = {}
    best: dict[str, int] = {}
    for i, (candidate, power) in enumerate(zip(candidates, powers, strict=True)):
        key = repr(candidate.value)
        belief[key] = belief.get(key, 0.0) + power / total
        if key not in best or scores[i] > scores[best[key]]:
            best[key] = i
    ordered = sorted(best, key=lambda key: -scores[best[key]])
    return [
        Ranked(
            candidates[best[key]], belief[key], max((belief[other] for other in ordered if other != key), default=0.0),
            nothing / total, scores[best[key]],
        )
        for key in ordered
    ]  # fmt: skip


def fit(
    examples: Sequence[Example], start: Mapping[str, float], pull: float = 1.0, steps: int = 400
) -> dict[str, float]:
    """Weights that make the right candidates likely: softmax over each document's candidates and "nothing".

    `pull` is the strength of the L2 pull towards `start`; in the order of one counts as one document against it.
    """
    import numpy as np

    names = sorted(
        {name for one in examples for candidate in one.candidates for name in candidate.features} | {*start} | {NONE}
    )
    column = {name: i for i, name in enumerate(names)}
    rows, right, owner = [], [], []
    for number, example in enumerate(examples):
        nothing = np.zeros(len(names), np.float32)
        nothing[column[NONE]] = 1.0
        rows.append(nothing)
        right.append(not any(example.right))
        owner.append(number)
        for candidate, is_right in zip(example.candidates, example.right, strict=True):
            row = np.zeros(len(names), np.float32)
            for name, value in candidate.features.items():
                row[column[name]] = value
            rows.append(row)
            right.append(is_right)
            owner.append(number)
    first = np.array([start.get(name, 0.0) for name in names])
    learned = _descend(np.array(rows), np.array(right), np.array(owner), first, pull, steps)
    return {name: round(float(learned[column[name]]), 3) for name in names if abs(learned[column[name]]) >= 0.0005}


def _descend(
    features: "NDArray[np.float32]",
    right: "NDArray[np.bool_]",
    owner: "NDArray[np.int64]",
    first: "NDArray[np.float64]",
    pull: float,
    steps: int,
) -> "NDArray[np.float64]":
    """Adam on the negative log of the belief in the right rows of each owner."""
    import numpy as np

    weights, mean, square = first.copy(), np.zeros_like(first), np.zeros_like(first)
    starts = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    for step in range(1, steps + 1):
        scores = features @ weights
        powers = np.exp(scores - np.maximum.reduceat(scores, starts)[owner])
        believed = powers / np.add.reduceat(powers, starts)[owner]
        wanted = powers * right
        wanted = wanted / np.maximum(np.add.reduceat(wanted, starts), 1e-12)[owner]
        slope = (believed - wanted) @ features + pull * (weights - first)
        mean = 0.9 * mean + 0.1 * slope
        square = 0.99 * square + 0.01 * slope * slope
        rate = 0.1 * (1 - step / (steps + 1)) + 0.005
        weights -= rate * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.99**step)) + 1e-8)
    return weights
