"""The pages of a document with every label on them, and the labels near a value."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from models.ocr.candidates.label_index import Hit, Index, Wanted
from models.ocr.text import layout
from models.ocr.text.layout import PageLayout, Span
from pipeline.core.geometry import Box
from pipeline.parsing import normalize

HEADER_REACH = 14.0  # line heights: how far above a value the heading of its column may be
VALUE = re.compile(r"[0-9][.,][0-9]{2}(?![0-9])|[0-9]{2,}")


@dataclass(frozen=True, slots=True)
class LabelMatch:
    """A printed label: in `span` from `start` to `end`; x0, x1 are its own ends in deskewed pixels."""

    span: Span
    start: int
    end: int
    label: int
    quality: float
    letters: int
    x0: float
    x1: float
    rows: tuple[int, ...]


class Near(NamedTuple):
    """A label near a value: its place (line, left, above, header, before, after) and its strength as a name."""

    mark: LabelMatch
    place: str
    gap: float
    strength: float


@dataclass(eq=False)
class Candidate:
    """One possible value of one field: as printed, as in JSON, its place, and its features."""

    text: str
    value: object
    page: int
    box: Box
    score: float
    features: dict[str, float] = field(default_factory=dict)


class PageContext:
    """The sheets of a document with their labels marked. `pages[i]` is the page number of `sheets[i]`."""

    def __init__(self, sheets: Sequence[tuple[int, PageLayout]], index: Index) -> None:
        self.index = index
        self.pages = [number for number, _ in sheets]
        self.sheets = [sheet for _, sheet in sheets]
        self.marks = [_marks(sheet, index) for sheet in self.sheets]
        self._near: dict[tuple[int, int, int, int], list[Near]] = {}
        self._by_row: list[dict[int, list[LabelMatch]]] = []
        self._by_segment: list[dict[int, list[LabelMatch]]] = []
        for marks in self.marks:
            rows: dict[int, list[LabelMatch]] = {}
            segments: dict[int, list[LabelMatch]] = {}
            for mark in marks:
                for row in mark.rows:
                    rows.setdefault(row, []).append(mark)
                segments.setdefault(mark.span.index, []).append(mark)
            self._by_row.append(rows)
            self._by_segment.append(segments)

    def in_segment(self, number: int, span: Span) -> list[LabelMatch]:
        """The marks inside one segment of sheet `number`."""
        return self._by_segment[number].get(span.index, [])

    def in_row(self, number: int, row: int) -> list[LabelMatch]:
        """The marks of one row of sheet `number`."""
        return self._by_row[number].get(row, [])

    def near(self, number: int, span: Span, start: int, end: int) -> list[Near]:
        """The labels that may name the value text[start:end] of a segment of sheet `number`; cached."""
        key = (number, span.index, start, end)
        if key not in self._near:
            self._near[key] = self._look(number, span, start, end)
        return self._near[key]

    def _look(self, number: int, span: Span, start: int, end: int) -> list[Near]:
        x0, x1 = ends(span, start, end)
        return [
            *self._on_row(number, span, start, x0),
            *self._over(number, span, x0, x1),
            *self._on_neighbour_rows(number, span),
        ]

    def _on_row(self, number: int, span: Span, start: int, x0: float) -> Iterator[Near]:
        """Labels left of a value on its row: in its own segment or in another one."""
        sheet = self.sheets[number]
        for mark in self.in_row(number, span.row):
            if mark.span is span:
                if mark.end <= start:
                    between = span.text[mark.end : start]
                    yield _near(mark, "line", len(between) / 2, 0.8 if VALUE.search(between) else 1.0)
            elif mark.x1 <= x0 + 0.5 * sheet.height:
                values = sum(
                    bool(VALUE.search(other.text))
                    for other in sheet.rows[span.row]
                    if mark.x1 <= other.cx < x0 and other is not mark.span
                )
                if mark.span.row == span.row and VALUE.search(mark.span.text[mark.end :]):
                    values += 1
                if values <= 3:
                    yield _near(mark, "left", (x0 - mark.x1) / sheet.height, 0.6**values)

    def _over(self, number: int, span: Span, x0: float, x1: float) -> Iterator[Near]:
        """Labels above a value: right over it, or the heading of its column."""
        sheet = self.sheets[number]
        blocked = False
        for row in range(span.row - 1, max(-1, span.row - 30), -1):
            gap = (span.y0 - max(other.y1 for other in sheet.rows[row])) / sheet.height
            if gap > HEADER_REACH:
                break
            for mark in self.in_row(number, row):
                shared = min(mark.x1, x1) - max(mark.x0, x0)
                if shared > 0.2 * min(mark.x1 - mark.x0, x1 - x0) or abs(mark.x0 - x0) < 1.2 * sheet.height:
                    followed = mark.span.row == row and mark.end < len(mark.span.text) - 2
                    if not blocked and gap < 2.0:
                        yield _near(mark, "above", gap, 0.55 if followed else 0.85)
                    else:
                        yield _near(mark, "header", gap, 0.3 if followed else 0.6 - 0.02 * gap)
            blocked = blocked or any(
                min(other.x1, x1) - max(other.x0, x0) > 0.2 * min(other.width, x1 - x0) for other in sheet.rows[row]
            )

    def _on_neighbour_rows(self, number: int, span: Span) -> Iterator[Near]:
        """Labels on the rows before and after, where the value's own row has no other words."""
        if any(char.isalpha() for char in self.sheets[number].row_text(span.row).replace(span.text, "")):
            return
        for row, place, weight in ((span.row - 1, "before", 0.5), (span.row + 1, "after", 0.3)):
            for mark in self.in_row(number, row):
                yield _near(mark, place, 1.0, weight)


def _near(mark: LabelMatch, place: str, gap: float, weight: float) -> Near:
    return Near(mark, place, gap, mark.quality * weight * (0.55 + 0.45 * min(mark.letters, 12) / 12))


def ends(span: Span, start: int, end: int) -> tuple[float, float]:
    """Left and right end of text[start:end] in deskewed pixels."""
    if start <= 0 and end >= len(span.text):
        return span.x0, span.x1
    box = span.part(start, end)
    shift = span.x0 - span.box.x
    return box.x + shift, box.right + shift


def _marks(sheet: PageLayout, index: Index) -> list[LabelMatch]:
    marks = []
    for span in sheet.segments:
        for hit in index.hits(span.text[:400]):
            marks.append(_mark(span, hit, (span.row,)))
    whole = {mark.span.index for mark in marks if mark.end - mark.start >= len(mark.span.text.rstrip(" :.：")) - 1}
    for span in sheet.segments:  # a narrow cell breaks its label over two lines
        for below in _right_below(sheet, span):
            if span.index in whole and below.index in whole:
                continue  # two labels of two rows, such as Cash over Change
            joined = layout.Span(
                span.text
                + ("" if normalize.is_cjk(span.text) else " ") + below.text, layout.around([span.box, below.box]),
                min(span.score, below.score), min(span.x0, below.x0), span.y0, max(span.x1, below.x1), below.y1,
                span.row, -1,
            )  # fmt: skip
            for hit in index.hits(joined.text):
                if hit.start < len(span.text) < hit.end:
                    start = hit.start
                    mark = LabelMatch(
                        joined, start, hit.end, hit.label, hit.quality, hit.letters,
                        ends(span, start, len(span.text))[0], joined.x1, tuple(range(span.row, below.row + 1)),
                    )  # fmt: skip
                    marks.append(mark)
    return marks


def _mark(span: Span, hit: Hit, rows: tuple[int, ...]) -> LabelMatch:
    x0, x1 = ends(span, hit.start, hit.end)
    return LabelMatch(span, hit.start, hit.end, hit.label, hit.quality, hit.letters, x0, x1, rows)


def _right_below(sheet: PageLayout, span: Span) -> Iterable[Span]:
    """Short segments that may go on with a label broken at the end of its cell."""
    if len(span.text) > 24 or VALUE.search(span.text):
        return
    for below in sheet.below(span, reach=0.9):
        if (
            len(below.text) <= 24
            and below.y0 - span.y1 < 0.9 * sheet.height
            and abs(below.x0 - span.x0) < 2.5 * span.height
        ):
            yield below
            return


def context(scene: PageContext, wanted: Wanted, near: Sequence[Near]) -> dict[str, float]:
    """Features of a value from the labels near it, for one field.

    own_* the strongest own label by its place; cover the share of the words beside it that it explains; rival
    the strongest label of something else; shadowed where the own label is only a part of a longer rival.
    """
    owners = wanted.owners
    own_best: Near | None = None
    own = rival = 0.0
    rival_gap = 99.0
    mine = [one for one in near if owners.intersection(scene.index.owners[one.mark.label])]
    others = [one for one in near if not owners.intersection(scene.index.owners[one.mark.label])]
    shadowed = False
    for one in mine:
        hidden = any(_inside(one.mark, other.mark) for other in others)
        strength = one.strength * (0.35 if hidden else 1.0)
        if strength > own:
            own, own_best, shadowed = strength, one, hidden
    for one in others:
        if not any(_inside(one.mark, other.mark) for other in mine) and one.strength > rival:
            rival, rival_gap = one.strength, one.gap
    features = {"own": own, "rival": rival, "no_label": float(own == 0), "rival_only": float(own == 0 < rival)}
    if own_best is not None:
        features["own_" + own_best.place] = own
        mark = own_best.mark
        letters = sum(char.isalpha() for char in mark.span.text[: mark.end if own_best.place == "line" else None]) or 1
        features["preferred"] = max(
            wanted.preference(scene.index.labels[one.mark.label]) for one in mine if one.mark.span is mark.span
        )
        features["cover"] = min(1.0, mark.letters / letters)
        features["shadowed"] = float(shadowed)
        features["far"] = min(1.0, own_best.gap / 20)
        features["length"] = min(1.0, mark.letters / 12)
        features["beaten"] = float(rival > own) * (rival - own)
        features["rival_nearer"] = float(rival > 0.3 and rival_gap < own_best.gap - 0.5)
        colon = mark.span.text[mark.end : mark.end + 4]
        features["colon"] = float(":" in normalize.narrow(colon))
    return features


def _inside(short: LabelMatch, long: LabelMatch) -> bool:
    return (
        short.span is long.span
        and long.start <= short.start
        and short.end <= long.end
        and long.letters > short.letters
        and long.quality > 0.7
    )


def place(scene: PageContext, number: int, span: Span) -> dict[str, float]:
    """Features of the place of a span on its page and in the document, and of its type size."""
    sheet = scene.sheets[number]
    depth, across = max(1.0, sheet.y1 - sheet.y0), max(1.0, sheet.x1 - sheet.x0)
    down = (span.y0 - sheet.y0) / depth
    return {
        "down": (number + down) / len(scene.sheets),
        "top": max(0.0, 1 - 4 * down) if number == 0 else 0.0,
        "bottom": max(0.0, 4 * down - 3),
        "right": (span.x1 - sheet.x0) / across,
        "large": min(2.0, span.height / sheet.height) - 1,
        "first_page": float(number == 0),
        "last_page": float(number == len(scene.sheets) - 1),
    }
