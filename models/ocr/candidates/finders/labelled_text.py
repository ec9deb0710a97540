"""The values of forms: text right of or below a label."""

import re
from collections.abc import Iterator

from models.ocr.candidates.context import Candidate, LabelMatch, PageContext, ends
from models.ocr.candidates.finders import lexicon
from models.ocr.candidates.label_index import Wanted
from models.ocr.text import layout
from models.ocr.text.layout import PageLayout, Span
from pipeline.core.geometry import Box
from pipeline.parsing import dates
from pipeline.parsing.normalize import is_cjk, narrow

_LEAD = re.compile(r"^[\s:.;,*>=)\]#_\-|]+")
_TRAIL = re.compile(r"[\s:;,_|(\[\-*]+$")
_KEY = re.compile(r"[:：]\s*$")
_TICK = re.compile("[□☐☑☒✓✔√■▣口]")

Place = tuple[str, list[Span], int, int]


def texts_of(scene: PageContext, wanted: Wanted) -> list[Candidate]:
    """The text after, right of and below each of the field's labels."""
    candidates = []
    for number, marks in enumerate(scene.marks):
        own = [mark for mark in marks if wanted.owners.intersection(scene.index.owners[mark.label])]
        whole = [mark for mark in own if not any(_within(mark, other) for other in own)]
        for order, mark in enumerate(whole):
            hidden = any(_within(mark, other) for other in marks)
            for place, spans, start, end in _beside(scene, number, mark):
                candidate = _candidate(scene, number, mark, (place, spans, start, end), wanted)
                if candidate is not None:
                    candidate.features["hidden_key"] = float(hidden)
                    candidate.features["first_key"] = float(order == 0 and number == 0)
                    candidates.append(candidate)
    return candidates


def _within(mark: LabelMatch, other: LabelMatch) -> bool:
    same = other.span is mark.span and other.start <= mark.start and mark.end <= other.end
    return same and other.letters > mark.letters


def _beside(scene: PageContext, number: int, mark: LabelMatch) -> Iterator[Place]:
    """Where the value may be: (place, spans, start in the first span, end in the last)."""
    sheet, line = scene.sheets[number], mark.span
    rest = line.text[mark.end :]
    value_on_line = bool(_LEAD.sub("", narrow(rest)).strip())
    if line.index >= 0 and value_on_line:
        yield from _behind(scene, number, mark)
    if line.index < 0 or not value_on_line or _TICK.search(rest):
        yield from _right_of(sheet, mark)
    yield from _under_and_over(sheet, mark)


def _behind(scene: PageContext, number: int, mark: LabelMatch) -> Iterator[Place]:
    """The rest of the label's own line up to the next key, and the line below it."""
    line = mark.span
    limit = len(line.text)
    for other in scene.in_segment(number, line):
        if mark.end < other.start < limit and _starts_key(line.text, other):
            limit = other.start
    yield "line", [line], mark.end, limit
    below = _next_below(scene.sheets[number].below(line, 1.2), line)
    if below is not None and limit == len(line.text):
        yield "line_on", [line, below], mark.end, len(below.text)


def _right_of(sheet: PageLayout, mark: LabelMatch) -> Iterator[Place]:
    """The segments right of a label, alone and joined, and the line below the first."""
    right = [
        span
        for row in mark.rows
        if row < len(sheet.rows)
        for span in sheet.rows[row]
        if span.x0 >= mark.x1 - 0.6 * sheet.height and span is not mark.span
    ]
    right.sort(key=lambda span: span.x0)
    if not right:
        return
    yield "right", [right[0]], 0, len(right[0].text)
    joined = [right[0]]
    for span in right[1:4]:
        if span.row != joined[-1].row or span.x0 - joined[-1].x1 > 2.5 * span.height:
            break
        joined.append(span)
        yield "right_on", list(joined), 0, len(span.text)
    below = _next_below(sheet.below(right[0], 1.2), right[0])
    if below is not None:
        yield "right_down", [right[0], below], 0, len(below.text)


def _under_and_over(sheet: PageLayout, mark: LabelMatch) -> Iterator[Place]:
    """The segments below a label, and the one above and right of it."""
    line = mark.span
    part = layout.Span("", line.box, 1.0, mark.x0, line.y0, mark.x1, line.y1, mark.rows[-1])
    under = [span for span in sheet.below(part, 4.0) if span.row > mark.rows[-1]]
    if under:
        yield "below", [under[0]], 0, len(under[0].text)
        second = _next_below(under[1:], under[0])
        if second is not None:
            yield "below_on", [under[0], second], 0, len(second.text)
    over = [span for span in sheet.above(part, 1.5) if span.x0 >= mark.x1 - sheet.height]
    if over:
        yield "above", [over[0]], 0, len(over[0].text)


def _next_below(spans: list[Span], span: Span) -> Span | None:
    for below in spans:
        if below.y0 - span.y1 < 0.9 * span.height and abs(below.x0 - span.x0) < 1.5 * span.height:
            return below
    return None


def _starts_key(text: str, mark: LabelMatch) -> bool:
    """Whether a label later on the line begins another key: a blank before it and a colon after it, or Chinese."""
    after = narrow(text[mark.end : mark.end + 3])
    return mark.letters > 2 and (":" in after) and (is_cjk(text) or text[mark.start - 1 : mark.start] in " |;,")


def _candidate(scene: PageContext, number: int, mark: LabelMatch, found: Place, wanted: Wanted) -> Candidate | None:
    """The value at a place; None where only separators are printed there."""
    place, spans, start, end = found
    pieces = [spans[0].text[start:] if len(spans) > 1 else spans[0].text[start:end], *(span.text for span in spans[1:])]
    if len(spans) > 1:
        pieces[-1] = spans[-1].text[:end]
    lead = len(pieces[0]) - len(_LEAD.sub("", narrow(pieces[0]))) if place.startswith("line") else 0
    pieces[0] = pieces[0][lead:]
    whole = ("" if is_cjk("".join(pieces)) else " ").join(pieces)
    text = whole[: len(_TRAIL.sub("", narrow(whole)))]
    if not text.strip():
        return None
    boxes: list[Box] = [
        spans[0].part(start + lead, min(end, len(spans[0].text)) if len(spans) == 1 else len(spans[0].text))
    ]
    boxes += [span.box for span in spans[1:]]
    features = _key_features(scene, mark, wanted)
    features |= {place: 1.0, **_distance(scene, number, mark, found, start + lead)}
    features |= {"is_key": _covered(scene, number, mark, spans, text), "ends_colon": float(bool(_KEY.search(whole)))}
    features |= _value_features(scene, number, mark, spans[0], text)
    score = min(span.score for span in spans)
    return Candidate(text.strip(), text.strip(), scene.pages[number], layout.around(boxes), score, features)


def _covered(scene: PageContext, number: int, mark: LabelMatch, spans: list[Span], text: str) -> float:
    """The share of a value's letters that are another label, 0..1."""
    keys = [
        other
        for span in spans
        for other in scene.in_segment(number, span)
        if other.span is not mark.span or other.start >= mark.end
    ]
    letters = sum(char.isalnum() for char in text) or 1
    return min(1.0, max((other.letters / letters for other in keys if other.quality > 0.8), default=0.0))


def _key_features(scene: PageContext, mark: LabelMatch, wanted: Wanted) -> dict[str, float]:
    """How well a label is read, and how it is printed."""
    text = mark.span.text
    return {
        "own": mark.quality,
        "exact": float(mark.quality >= 0.95),
        "given": float(wanted.path in scene.index.owners[mark.label]),
        "told": wanted.preference(scene.index.labels[mark.label]),
        "key_length": min(1.0, mark.letters / 8),
        "key_alone": float(mark.end - mark.start >= len(text.strip(" :：*.()")) - 1),
        "key_starts": float(not any(char.isalnum() for char in text[: mark.start])),
        "key_colon": float(":" in narrow(text[mark.end : mark.end + 3])),
    }


def _distance(scene: PageContext, number: int, mark: LabelMatch, found: Place, start: int) -> dict[str, float]:
    """How far a value is from its label; it begins at character `start` of its first span."""
    sheet, place, first = scene.sheets[number], found[0], found[1][0]
    x0 = ends(first, start, len(first.text))[0]
    gap = (
        max(0.0, x0 - mark.x1) / sheet.height if place[0] in "lr" else max(0.0, first.y0 - mark.span.y1) / sheet.height
    )
    return {"gap": min(1.0, gap / 15), "far": float(gap > 8)}


def _value_features(scene: PageContext, number: int, mark: LabelMatch, first: Span, text: str) -> dict[str, float]:
    """How a value is printed, and where its first span is."""
    sheet, plain = scene.sheets[number], narrow(text)
    return {
        "key_like": float(len(text) <= 12 and bool(lexicon.KEY_END.search(plain))),
        "holds_colon": float(":" in plain),
        "long": min(1.0, len(text) / 80),
        "short": float(len(text) == 1),
        "ticks": float(bool(_TICK.search(plain))),
        "digits": sum(char.isdigit() for char in plain) / len(plain),
        "down": (number + (first.y0 - sheet.y0) / max(1.0, sheet.y1 - sheet.y0)) / len(scene.sheets),
        "large": min(2.0, first.height / sheet.height) - 1,
        "date": float(bool(dates.find(text))),
        "unlike_type": abs(first.height / mark.span.height - 1) if len(mark.rows) == 1 else 0.0,
    }
