"""The ranker is a readable weighted sum that learns; the calibration says how often it is right."""

import math
import random

import pytest

from models.ocr.candidates import calibration, ranker
from models.ocr.candidates.context import Candidate
from models.ocr.candidates.finders import FINDERS
from models.ocr.candidates.ranker import Example
from pipeline.core.geometry import Box


def candidate(value: str, **features: float) -> Candidate:
    return Candidate(value, value, 1, Box(0, 0, 1, 1), 0.99, features)


def test_the_score_is_the_weighted_sum() -> None:
    assert ranker.score(candidate("a", own=0.5, far=1.0, unknown=9), {"own": 4, "far": -1}) == 1.0


def test_equal_values_share_their_belief_at_the_best_place() -> None:
    best, other = ranker.rank(
        [candidate("a", own=1), candidate("b", own=1.5), candidate("b", own=1)], {"own": 1, "none": 0}
    )
    assert (best.candidate.value, best.candidate.features) == ("b", {"own": 1.5})
    total = 1 + 2 * math.e + math.exp(1.5)
    assert best.belief == pytest.approx((math.e + math.exp(1.5)) / total)
    assert best.second == pytest.approx(other.belief)
    assert best.nothing == pytest.approx(1 / total)
    assert ranker.rank([], {}) == []


def examples(count: int) -> list[Example]:
    """Right is what has a label, unless it stands far away; size says nothing."""
    dice = random.Random(5)
    made = []
    for _ in range(count):
        found = [
            candidate(str(i), label=float(dice.random() < 0.4), far=float(dice.random() < 0.3), size=dice.random())
            for i in range(6)
        ]
        made.append(Example(found, [bool(one.features["label"] and not one.features["far"]) for one in found]))
    return made


def test_it_learns_from_answered_documents() -> None:
    weights = ranker.fit(examples(80), {"size": 1.0, "none": 0.0}, pull=0.1)
    assert weights["label"] > 1 > 0 > weights["far"]
    right = 0
    for example in (unseen := [one for one in examples(160)[80:] if any(one.right)]):
        best = ranker.rank(example.candidates, weights)[0].candidate
        right += example.right[list(example.candidates).index(best)]
    assert right / len(unseen) > 0.95


def test_a_strong_pull_keeps_the_weights_it_started_from() -> None:
    assert ranker.fit(examples(30), {"size": 1.0, "none": 0.5}, pull=1e6)["size"] == pytest.approx(1.0, abs=0.05)


def test_every_finder_has_shipped_weights_and_they_name_real_features() -> None:
    weights = ranker.shipped()
    assert set(FINDERS) == set(weights)
    for table in weights.values():
        assert "none" in table
        assert all(isinstance(value, int | float) and abs(value) < 20 for value in table.values())


def test_calibration_learns_how_often_it_is_right() -> None:
    dice = random.Random(3)
    signs = [{"one": 1.0, "belief": dice.uniform(-2, 2)} for _ in range(2000)]
    right = [dice.random() < 1 / (1 + math.exp(-2 * one["belief"])) for one in signs]
    curve = calibration.fit(signs, right)
    for belief in (-1.0, 0.0, 1.0):
        assert calibration.chance(curve, {"one": 1.0, "belief": belief}) == pytest.approx(
            1 / (1 + math.exp(-2 * belief)), abs=0.06
        )


def test_shipped_confidence_rises_with_belief_and_print() -> None:
    weights = ranker.shipped()["money"]
    clear, dim = (candidate("5", own=0.9, cover=1.0, quality=1.0, decimals=1.0) for _ in range(2))
    dim.features["own"] = 0.1
    sure, unsure = (calibration.confidence("money", ranker.rank([one], weights)[0]) for one in (clear, dim))
    assert 0 < unsure < sure <= 1
    assert "other" in calibration.shipped()
