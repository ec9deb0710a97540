"""The layout of a page: deskewed rows, phrases (neighbouring words), and the column blocks that phrases form.

Boxes stay in page pixels; rows are found on deskewed coordinates, so evidence still points at the picture.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from models.ocr.text.lines import Line
from models.ocr.text.ruled_lines import RuledGrid
from pipeline.core.geometry import Box
from pipeline.parsing.normalize import unaccented

MAX_TILT_RAD = 0.35  # more than 20 degrees is a turned page, not a skewed one: `orient` and `deskew` come first
WORD_GAP = 0.65  # of the line height: words of a text layer that are nearer are one segment
PHRASE_GAP = 1.2  # of the line height: words of one phrase are nearer than this
COLUMN_GAP = 2.2  # of the line height: the next line of a block is nearer than this
MOST_STRAY = 2  # accents on an English page that are dirt; a German page of 450 letters has five umlauts
_ACCENTS = "\u00c0-\u024f"


@dataclass(eq=False, slots=True)
class Span:
    """A run of print on one row: a line as read (a *segment*), or neighbouring ones joined (a *phrase*).

    x0..x1, y0..y1 are deskewed pixels, for comparing places; `box` is in page pixels. `index` counts within the sheet's
    `segments` or `phrases`, `row` within its rows.
    """

    text: str
    box: Box
    score: float
    x0: float
    y0: float
    x1: float
    y1: float
    row: int = -1
    index: int = -1
    parts: tuple["Span", ...] = ()

    @property
    def height(self) -> float:
        return max(1.0, self.y1 - self.y0)

    @property
    def width(self) -> float:
        return max(1.0, self.x1 - self.x0)

    @property
    def cx(self) -> float:
        return (self.x0 + self.x1) / 2

    @property
    def cy(self) -> float:
        return (self.y0 + self.y1) / 2

    def part(self, start: int, end: int) -> Box:
        """The box around text[start:end] in page pixels, by the share of the characters (full-width ones count
        twice)."""
        if self.parts:
            at, boxes = 0, []
            for piece in self.parts:
                first, last = max(start - at, 0), min(end - at, len(piece.text))
                if first < last:
                    boxes.append(piece.part(first, last))
                at += len(piece.text) + 1
            return around(boxes) if boxes else self.box
        widths = [2.0 if "⺀" <= char <= "\uffee" else 1.0 for char in self.text]
        total = sum(widths) or 1.0
        left, right = sum(widths[:start]) / total, sum(widths[:end]) / total
        return Box(self.box.x + left * self.box.width, self.box.y, (right - left) * self.box.width, self.box.height)


def around(boxes: Sequence[Box]) -> Box:
    """The smallest box that holds all of them."""
    return Box.around([point for box in boxes for point in ((box.x, box.y), (box.right, box.bottom))])


@dataclass(eq=False, slots=True)
class PageLayout:
    """One page as rows of segments, as phrases, and which phrase continues which.

    `down[i]` is the index of the phrase that continues phrase i's column block below, or None; `up` the other way
    round. `height` is the usual height of a line in pixels; x0..x1, y0..y1 the deskewed bounds of all print. `meshes`
    are the tables in drawn lines, where they were looked for.
    """

    width: float
    depth: float
    rows: list[list[Span]]
    phrases: list[Span]
    down: list[int | None]
    up: list[int | None]
    segments: list[Span]
    height: float = 1.0
    x0: float = 0.0
    y0: float = 0.0
    x1: float = 1.0
    y1: float = 1.0
    meshes: tuple[RuledGrid, ...] = ()

    def row_text(self, row: int) -> str:
        """The text of a row, left to right; "" outside the sheet."""
        return " ".join(span.text for span in self.rows[row]) if 0 <= row < len(self.rows) else ""

    def above(self, span: Span, reach: float = 6.0) -> list[Span]:
        """Segments above a span that share part of its width, nearest first, up to `reach` line heights away."""
        return self._beside(span, -1, reach)

    def below(self, span: Span, reach: float = 6.0) -> list[Span]:
        """Segments below a span that share part of its width, nearest first."""
        return self._beside(span, 1, reach)

    def _beside(self, span: Span, step: int, reach: float) -> list[Span]:
        found = []
        row = span.row + step
        while 0 <= row < len(self.rows):
            gap = max((other.y0 - span.y1 if step > 0 else span.y0 - other.y1) for other in self.rows[row])
            if gap > reach * self.height:
                break
            for other in self.rows[row]:
                if min(other.x1, span.x1) - max(other.x0, span.x0) > 0.2 * min(other.width, span.width):
                    found.append(other)
            row += step
        return found


def mean_score(spans: Sequence[Span]) -> float:
    """The mean recognition score, 0..1, weighted by the length of the text; 0 where there is none."""
    return sum(span.score * len(span.text) for span in spans) / max(1, sum(len(span.text) for span in spans))


def median(values: Sequence[float], default: float = 0.0) -> float:
    """The middle value (the upper of two); `default` where there is none."""
    return sorted(values)[len(values) // 2] if values else default


def mend(text: str) -> str:
    """Letters and digits that an OCR engine mixes up inside words (a I between small letters, a 0 or 1 inside a word).

    The text keeps its length, so offsets stay.
    """
    text = re.sub(r"(?<=[A-Za-z])I(?=[a-z])", "l", text)

    def word(match: re.Match[str]) -> str:
        upper = sum(char.isupper() for char in match[0]) > sum(char.islower() for char in match[0])
        table = str.maketrans("01", "OI" if upper else "ol")
        return match[0][0] + match[0][1:-1].translate(table) + match[0][-1]

    return re.sub(
        r"(?<![A-Za-z0-9])(?=[A-Za-z0-9]*[a-z]{2}|[A-Za-z01]{5,})[A-Za-z]+[01][A-Za-z]+(?![A-Za-z0-9])", word, text
    )


def _without_stray_accents(texts: list[str]) -> list[str]:
    """Accents on a page that has almost none are dirt on the paper; a page that writes with accents keeps them."""
    letters = "".join(texts)
    accented = len(re.findall(f"[{_ACCENTS}]", letters))
    if 0 < accented <= MOST_STRAY and accented < 0.015 * sum(char.isalpha() for char in letters):
        return [re.sub(f"[{_ACCENTS}]", lambda match: unaccented(match[0])[0], text) for text in texts]
    return texts


def _tilt(lines: Sequence[Line]) -> float:
    """The angle in radians at which most lines have a neighbour exactly beside them; 0 unless one is clearly better.

    Upright boxes carry no angle of their own, so it is estimated from the places of the boxes.
    """
    import numpy as np

    if len(lines) < 8 or all(line.score >= 1.0 for line in lines):  # a text layer is straight
        return 0.0
    cx = np.array([line.box.x + line.box.width / 2 for line in lines])
    cy = np.array([line.box.y + line.box.height / 2 for line in lines])
    high = float(np.median([line.box.height for line in lines]))
    across = np.abs(cx[:, None] - cx[None, :])
    near = (across > 2 * high) & (np.abs(cy[:, None] - cy[None, :]) < MAX_TILT_RAD * across + high)

    def attachment(angle: float) -> int:
        y = cy - cx * math.tan(angle)
        return int(((np.abs(y[:, None] - y[None, :]) < 0.2 * high) & near).sum()) // 2

    angles = [step * math.radians(0.5) for step in range(-12, 13)]
    counts = [attachment(angle) for angle in angles]
    level, best = counts[12], max(range(25), key=lambda i: (counts[i], -abs(i - 12)))
    return angles[best] if counts[best] > 1.25 * level + 3 else 0.0


def _whole(text: str) -> str:
    """The text with the halves of characters (surrogates) that a broken text layer may hold as question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _spans(lines: Sequence[Line], least_score: float) -> list[Span]:
    kept = [line for line in lines if line.text.strip() and line.score >= least_score]
    tilt = _tilt(kept)
    slope, flat = math.sin(abs(tilt)), math.cos(tilt)
    texts = [mend(_whole(line.text.strip())) for line in kept]
    if any(line.score < 1.0 for line in kept):  # a text layer has no dirt
        texts = _without_stray_accents(texts)
    spans = []
    for line, text in zip(kept, texts, strict=True):
        box = line.box
        high = max(0.4 * box.height, (box.height - box.width * slope) / flat)
        cx, cy = box.x + box.width / 2, box.y + box.height / 2
        x, y = cx * flat + cy * math.sin(tilt), cy * flat - cx * math.sin(tilt)
        spans.append(Span(text, box, line.score, x - box.width / 2, y - high / 2, x + box.width / 2, y + high / 2))
    return spans


def _rows(spans: list[Span]) -> list[list[Span]]:
    rows: list[list[Span]] = []
    for span in sorted(spans, key=lambda s: s.cy):
        best: list[Span] | None = None
        most = 0.0
        for row in rows[-6:]:
            nearest = min(row, key=lambda other: abs(other.cx - span.cx))
            shared = min(nearest.y1, span.y1) - max(nearest.y0, span.y0)
            if shared <= max(0.5 * min(nearest.height, span.height), most):
                continue
            if all(min(o.x1, span.x1) - max(o.x0, span.x0) < 0.3 * min(o.width, span.width) for o in row):
                best, most = row, shared
        if best is None:
            rows.append([span])
        else:
            best.append(span)
    rows.sort(key=lambda row: sum(span.cy for span in row) / len(row))
    return [sorted(row, key=lambda span: span.x0) for row in rows]


def _joined(row: list[Span], gap: float) -> list[Span]:
    """Neighbours on a row whose gap is under `gap` line heights, and whose type is alike, as one span."""
    joined: list[Span] = []
    for span in row:
        last = joined[-1] if joined else None
        alike = last is not None and last.height < 2 * span.height < 4 * last.height
        if last is None or not alike or span.x0 - last.x1 >= gap * max(last.height, span.height):
            joined.append(span)
            continue
        parts = (*(last.parts or (last,)), *(span.parts or (span,)))
        joined[-1] = Span(
            text=f"{last.text} {span.text}", box=around([last.box, span.box]), score=min(last.score, span.score),
            x0=last.x0, y0=min(last.y0, span.y0), x1=span.x1, y1=max(last.y1, span.y1), parts=parts,
        )  # fmt: skip
    return joined


def _below(phrases: list[Span], height: float) -> tuple[list[int | None], list[int | None]]:
    """For each phrase the one that continues its block below, and the other way round."""
    down: list[int | None] = [None] * len(phrases)
    up: list[int | None] = [None] * len(phrases)
    for i, phrase in enumerate(phrases):
        best: tuple[float, float, int] | None = None
        for other in phrases[i + 1 : i + 60]:
            if other.row == phrase.row:
                continue
            if other.row > phrase.row + 4 or (best is not None and other.y0 > best[0]):
                break
            if other.y0 - phrase.y1 > COLUMN_GAP * max(phrase.height, other.height):
                continue
            shared = min(phrase.x1, other.x1) - max(phrase.x0, other.x0)
            if shared < 0.3 * min(phrase.width, other.width) and abs(phrase.x0 - other.x0) > 1.5 * height:
                continue
            key = (other.cy, -shared, other.index)
            if best is None or key < best:
                best = key
        if best is not None:
            down[i] = best[2]
            if up[best[2]] is None:
                up[best[2]] = i
    return down, up


def page_layout(
    lines: Sequence[Line], width: float, depth: float, least_score: float = 0.5, meshes: tuple[RuledGrid, ...] = ()
) -> PageLayout:
    """A page of `width` × `depth` pixels as rows and phrases; lines read with less than `least_score` are left out."""
    rows = [_joined(row, WORD_GAP) for row in _rows(_spans(lines, least_score))]
    phrases: list[Span] = []
    segments: list[Span] = []
    for number, row in enumerate(rows):
        for segment in row:
            segment.row, segment.index = number, len(segments)
            segments.append(segment)
        for phrase in _joined(row, PHRASE_GAP):
            phrases.append(replace(phrase))  # a copy: a segment has its own index
            phrases[-1].row, phrases[-1].index = number, len(phrases) - 1
    height = median([span.height for span in segments], 1.0)
    down, up = _below(phrases, height)
    return PageLayout(
        width, depth, rows, phrases, down, up, segments, height,
        x0=min((s.x0 for s in segments), default=0.0), y0=min((s.y0 for s in segments), default=0.0),
        x1=max((s.x1 for s in segments), default=1.0), y1=max((s.y1 for s in segments), default=1.0), meshes=meshes,
    )  # fmt: skip
