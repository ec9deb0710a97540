"""How sure to be: the chance that a picked value is right, learned on labelled documents and shipped as data.

A logistic curve per kind of field over a few signs of doubt; `calibration.yaml` holds it with the command that made it.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files

from models.ocr.ranker import Ranked


@lru_cache(maxsize=1)
def shipped() -> Mapping[str, Mapping[str, float]]:
    """The curves that come with the engine: kind → sign → weight."""
    import yaml

    read: dict[str, dict[str, dict[str, float]]]
    read = yaml.safe_load(files("models.ocr").joinpath("calibration.yaml").read_text("utf-8"))
    return read["curves"]


def signs(ranked: Ranked) -> dict[str, float]:
    """What a curve is made of: the belief and its lead as log-odds, how well the print was read, the label's strength."""
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


def confidence(kind: str, ranked: Ranked) -> float:
    """The chance that a value is right, 0..1; for a kind without a curve, the belief itself held down to 0.9."""
    curve = shipped().get(kind)
    if curve is None:
        return min(0.9, ranked.belief)
    return chance(curve, signs(ranked))


def chance(curve: Mapping[str, float], given: Mapping[str, float]) -> float:
    """The logistic curve at some signs."""
    total = sum(curve.get(name, 0.0) * value for name, value in given.items())
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, total))))
