"""Similarity of texts and boxes, for evaluation."""

import re
from collections.abc import Mapping
from typing import Any

from pipeline.parsing import normalize

CLOSE_TEXT = 0.9  # the similarity (rapidfuzz ratio) from which two texts are close
SAME_BOX, CLOSE_BOX = 0.9, 0.5  # IoU: people who draw the same box differ by 0.1; 0.5 is the usual bound
_NEGATIVE = re.compile(r"[^\w.,-]*-[^\w-]*[\d.,' ]+\D?|[^\w-]*[\d.,' ]+-|\([^\w-]*[\d.,' ]+\)")


def text_similarity(one: str, other: str) -> float:
    """1 for texts with the same letters and digits, else the ratio of rapidfuzz, below 1; 0 for opposite signs."""
    from rapidfuzz import fuzz

    if _is_negative(one) != _is_negative(other):
        return 0.0
    left, right = normalize.squash(one), normalize.squash(other)
    if not left or not right:
        left, right = normalize.fold(one), normalize.fold(other)
    return 1.0 if left == right else min(0.999, fuzz.ratio(left, right) / 100)


def overlap(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """Intersection over union of two boxes; 0 on different pages."""
    if one["page"] is not None and one["page"] != other["page"]:
        return 0.0
    wide = min(one["x"] + one["width"], other["x"] + other["width"]) - max(one["x"], other["x"])
    high = min(one["y"] + one["height"], other["y"] + other["height"]) - max(one["y"], other["y"])
    common = float(max(0.0, wide) * max(0.0, high))
    return float(common / (one["width"] * one["height"] + other["width"] * other["height"] - common))


def value_text(value: Any) -> str:
    """A value as in a label file: yes and no, lists with commas, numbers without an exponent."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(value_text, value))
    return "" if value is None else f"{value:g}" if isinstance(value, float) and abs(value) < 1e6 else str(value)


def _is_negative(text: str) -> bool:
    return _NEGATIVE.fullmatch(normalize.narrow(text).strip()) is not None
