"""How sure to be: the chance that a picked value is right, learned on labelled documents and shipped as data.

A logistic curve per kind of field over a few signs of doubt; `calibration.yaml` holds them with the command that
made it.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files

from models.ocr.candidates.ranker import Ranked

Curve = Mapping[str, float]
OTHER = "other"  # the curve of all kinds together, for a kind that has none of its own


@lru_cache(maxsize=1)
def shipped() -> Mapping[str, Curve]:
    """The curves that come with the engine: kind → sign → weight."""
    import yaml

    read: dict[str, dict[str, dict[str, float]]]
    read = yaml.safe_load(files("models.ocr.candidates").joinpath("calibration.yaml").read_text("utf-8"))
    return read["curves"]


def signs(ranked: Ranked) -> dict[str, float]:
    """What a curve is made of: the belief and its lead as log-odds, how well the print was read, the label's
    strength."""
    believed = min(max(ranked.belief, 1e-4), 1 - 1e-4)
    features = ranked.candidate.features
    return {
        "one": 1.0,
        "belief": math.log(believed / (1 - believed)) / 4,
        "lead": min(4.0, math.log((ranked.belief + 1e-3) / (ranked.second + 1e-3))) / 4,
        "blurred": -math.log(1.02 - min(1.0, ranked.candidate.score)) / 4,
        "own": features.get("own", features.get("key_own", 0.0)),
        "quality": features.get("quality", 1.0),
        "length": min(1.0, len(ranked.candidate.text) / 60),
    }


def confidence(kind: str, ranked: Ranked, curves: Mapping[str, Curve] | None = None) -> float:
    """The chance that a value is right, 0..1, by the shipped curves unless others are given."""
    curves = shipped() if curves is None else curves
    curve = curves.get(kind) or curves.get(OTHER)
    return chance(curve, signs(ranked)) if curve else min(0.9, ranked.belief)


def chance(curve: Curve, given: Mapping[str, float]) -> float:
    """The logistic curve at some signs."""
    total = sum(curve.get(name, 0.0) * value for name, value in given.items())
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, total))))


def fit(given: Sequence[Mapping[str, float]], right: Sequence[bool], pull: float = 1.0) -> dict[str, float]:
    """The curve that fits picks of which is known whether they are right (Newton's method, L2 of strength `pull`)."""
    import numpy as np

    names = list(given[0])
    signs = np.array([[one[name] for name in names] for one in given])
    truth = np.array(right, float)
    weights = np.zeros(len(names))
    ridge = np.full(len(names), pull)
    ridge[names.index("one")] = 0.01
    for _ in range(30):
        chances = 1 / (1 + np.exp(-np.clip(signs @ weights, -30, 30)))
        slope = signs.T @ (chances - truth) + ridge * weights
        bend = (signs.T * (chances * (1 - chances))) @ signs + np.diag(ridge)
        weights -= np.linalg.solve(bend, slope)
    return {name: round(float(weight), 3) for name, weight in zip(names, weights, strict=True)}
