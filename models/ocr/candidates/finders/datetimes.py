"""Dates and times of day."""

import itertools
import re
from collections import Counter
from typing import Any

from models.ocr.candidates.context import Candidate, Near, PageContext, context, place
from models.ocr.candidates.label_index import Wanted
from models.ocr.text.layout import Span
from pipeline.parsing import Found, dates, times
from pipeline.schema.fields import DateField

_DASH = re.compile(r"\s*(?:-|to|bis|au|thru|through|al|hingga|至|~)\s*", re.IGNORECASE)

_OTHERS = ("due_date", "other_date", "period")
_NAMED = ("due_date", "other_date")  # dates that are nothing without their label


def dates_of(scene: PageContext, wanted: Wanted) -> list[Candidate]:
    """Every date, with its labels, whether a time is beside it, and whether it starts or ends a period."""
    field = wanted.field
    assert isinstance(field, DateField)
    order = field.order
    raw: list[tuple[int, Span, Found]] = []
    for number, sheet in enumerate(scene.sheets):
        found = {span.index: dates.find(span.text, order) for span in sheet.segments}
        for row in sheet.rows:
            raw += [(number, span, one) for span in row for one in found[span.index]]
            raw += [(number, span, one) for span, one in _split(row, order) if not found[span.index]]
    counts = Counter(one.value for _, _, one in raw)
    candidates = []
    for i, (number, span, one) in enumerate(raw):
        sheet = scene.sheets[number]
        near = scene.near(number, span, one.start, one.end)
        features = context(scene, wanted, near) | place(scene, number, span)
        if not features["own"] and wanted.concept in _NAMED:
            continue  # the day of issue is no due date, even if it is the only date
        features |= {
            "quality": one.quality,
            "other_date": _other_date(scene, wanted, near),
            "time": float(bool(times.find(sheet.row_text(span.row).replace(span.text[one.start : one.end], " ")))),
            "repeated": min(counts[one.value] - 1, 3) / 3,
            "first": float(i == 0),
            "alone": float(len(counts) == 1),
        }
        for end, far in (("from", 1), ("to", -1)):
            ranged = _ranged(raw, i, far)
            features[f"wrong_end_{end}"] = float(wanted.role == end and _ranged(raw, i, -far))
            features[f"right_end_{end}"] = float(wanted.role == end and ranged)
        features["in_range"] = float(not wanted.role and (_ranged(raw, i, 1) or _ranged(raw, i, -1)))
        candidates.append(_candidate(scene, number, span, one, one.value.isoformat(), features))
    return candidates


def times_of(scene: PageContext, wanted: Wanted) -> list[Candidate]:
    """Every time of day, with its labels and whether a date is beside it."""
    candidates: list[Candidate] = []
    for number, sheet in enumerate(scene.sheets):
        for span in sheet.segments:
            for one in times.find(span.text):
                features = context(scene, wanted, scene.near(number, span, one.start, one.end)) | place(
                    scene, number, span
                )
                printed = span.text[one.start : one.end]
                features |= {
                    "quality": one.quality,
                    "date": float(bool(dates.find(sheet.row_text(span.row)))),
                    "first": float(not candidates),
                    "seconds": float(printed.count(":") == 2),
                    "half": float(printed.rstrip(". ").casefold().endswith("m")),
                }
                candidates.append(_candidate(scene, number, span, one, one.value.isoformat(), features))
    return candidates


def _other_date(scene: PageContext, wanted: Wanted, near: list[Near]) -> float:
    """How strongly a label of another date speaks for a value: due, delivered, valid from."""
    others = {"@date", *("@" + name for name in _OTHERS)} - wanted.owners
    said = [
        one.strength
        for one in near
        if others & set(owners := scene.index.owners[one.mark.label]) and not wanted.owners & set(owners)
    ]
    return max(said, default=0.0)


def _split(row: list[Span], order: str) -> list[tuple[Span, Found]]:
    """Dates that an OCR engine cut in two: read over two neighbours of a row."""
    found = []
    for left, right in itertools.pairwise(row):
        if not any(char.isdigit() for char in left.text):
            continue
        if right.x0 - left.x1 < 2.5 * left.height and left.text[-1:].isdigit() | (left.text[-1:] in "-/., "):
            for one in dates.find(f"{left.text} {right.text}", order):
                if one.start < len(left.text) < one.end:
                    joined = Found(one.start, len(left.text), one.value, one.quality * 0.8)
                    found.append((left, joined))
    return found


def _ranged(raw: list[tuple[int, Span, Found]], i: int, step: int) -> bool:
    """Whether the date is the start (step 1) or the end (step -1) of a period printed as "a - b"."""
    if not 0 <= i + step < len(raw):
        return False
    first, last = (raw[i], raw[i + step]) if step > 0 else (raw[i + step], raw[i])
    if first[0] != last[0] or first[1].row != last[1].row or first[2].value > last[2].value:
        return False
    if first[1] is last[1]:
        return bool(_DASH.fullmatch(first[1].text[first[2].end : last[2].start]))
    between = first[1].text[first[2].end :] + last[1].text[: last[2].start]
    near = last[1].x0 - first[1].x1 < 4 * first[1].height
    return near and (not between.strip() or bool(_DASH.fullmatch(between)))


def _candidate(
    scene: PageContext, number: int, span: Span, one: Found, value: Any, features: dict[str, float]
) -> Candidate:
    return Candidate(
        span.text[one.start : one.end], value, scene.pages[number], span.part(one.start, one.end), span.score, features
    )
