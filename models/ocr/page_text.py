"""The text of whole pages in reading order, with tables as Markdown."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from models.ocr.tables.cells import join, pieces
from models.ocr.tables.grid_table import Grid, grids
from models.ocr.text.layout import PageLayout, Span, around, mean_score, median
from pipeline.core.types import Evidence

APART = 2.2  # line heights between two pieces of print on one row that do not belong together
PARAGRAPH = 0.7  # line heights of white above the first line of a new paragraph
HEADING = 1.35  # of the usual height: a line in larger print is a heading
SIDE_BY_SIDE = 9.0  # line heights: lines of two columns of text are longer
LEAST_LINES = 3  # in each of two columns


class Text(NamedTuple):
    """`evidence` is around the print that was used, on the first page with any; `score` the reader's, 0..1."""

    text: str
    evidence: Evidence | None
    score: float


def verbatim(sheets: Sequence[tuple[int, PageLayout]]) -> Text:
    """All print of the pages, line by line; a line "--- page 2 ---" precedes each page after the first."""
    return _joined(sheets, [_lines(sheet) for _, sheet in sheets], "\n\n--- page {} ---\n\n")


def lines(sheets: Sequence[tuple[int, PageLayout]]) -> list[Evidence]:
    """The place of each printed line, in the order of `verbatim`."""
    return [
        Evidence(page, around([span.box for span in row]), _line(row, sheet.height))
        for page, sheet in sheets
        for block in _blocks(sheet.rows, sheet.height)
        for row in block
    ]


def markdown(sheets: Sequence[tuple[int, PageLayout]], tables_only: bool = False) -> Text:
    """Tables as Markdown tables, larger print as headings, the rest as paragraphs; or the tables alone."""
    return _joined(sheets, [_marked(sheet, tables_only) for _, sheet in sheets], "\n\n")


def rows(sheets: Sequence[tuple[int, PageLayout]]) -> list[tuple[str, Evidence, float]]:
    """The rows of every table on the pages, headings first, as "cell | cell | cell"."""
    found = []
    for page, sheet in sheets:
        for grid in grids(sheet):
            for row in grid.rows:
                box = around([cell.box for cell in row if cell.box is not None])
                text = " | ".join(cell.text for cell in row)
                found.append((text, Evidence(page, box, text), grid.score))
    return found


class _Part(NamedTuple):
    text: str
    spans: Sequence[Span]


def _joined(sheets: Sequence[tuple[int, PageLayout]], parts: Sequence[list[_Part]], between: str) -> Text:
    text = ""
    evidence = None
    spans = []
    for (page, _), texts in zip(sheets, parts, strict=True):
        if not texts:
            continue
        text += (between.format(page) if text else "") + "\n\n".join(part.text for part in texts)
        here = [span for part in texts for span in part.spans]
        spans += here
        evidence = evidence or Evidence(page, around([span.box for span in here]), texts[0].text.split("\n")[0])
    return Text(text, evidence, mean_score(spans))


# ---- as printed
def _lines(sheet: PageLayout) -> list[_Part]:
    found = []
    for block in _blocks(sheet.rows, sheet.height):
        for paragraph in _paragraphs(block, sheet.height):
            text = "\n".join(_line(row, sheet.height) for row in paragraph)
            found.append(_Part(text, [span for row in paragraph for span in row]))
    return found


def _line(row: Sequence[Span], height: float) -> str:
    """One printed line. Two blanks separate distant text; Chinese has no blanks."""
    text = ""
    for i, span in enumerate(row):
        words = join(pieces(span))
        if i and span.x0 - row[i - 1].x1 > APART * height:
            text += "  " + words
        else:
            text += ("" if not text or (_wide(text[-1]) and _wide(words)) else " ") + words
    return text


def _wide(char: str) -> bool:
    return "⺀" <= char[:1] <= "\uffee"


def _blocks(rows: Sequence[Sequence[Span]], height: float) -> list[list[list[Span]]]:
    """Rows in reading order: text in two columns is read column by column, everything else line by line."""
    blocks: list[list[list[Span]]] = []
    at = 0
    while at < len(rows):
        end, gutter = _side_by_side(rows, at, height)
        if end:
            attachment = rows[at:end]
            for half in (
                ([s for s in row if s.cx < gutter] for row in attachment),
                ([s for s in row if s.cx >= gutter] for row in attachment),
            ):
                blocks += _blocks([row for row in half if row], height)
            at = end
            continue
        if not blocks or not at or _side_by_side(rows, at - 1, height)[0]:
            blocks.append([])
        blocks[-1].append(list(rows[at]))
        at += 1
    return blocks


def _side_by_side(rows: Sequence[Sequence[Span]], at: int, height: float) -> tuple[int, float]:
    """Where two columns of text that begin at row `at` end, and the middle of their gap; 0 for none."""
    if len(rows[at]) != 2:
        return 0, 0.0
    left, right = rows[at][0].x1, rows[at][1].x0
    end = at
    sides: tuple[list[float], list[float]] = ([], [])
    for row in rows[at:]:
        if any(span.x0 < right and span.x1 > left for span in row):
            mine = [span for span in row if span.x1 > left and span.x0 < right]
            near_left = max((span.x1 for span in mine if span.cx < (left + right) / 2), default=left)
            near_right = min((span.x0 for span in mine if span.cx >= (left + right) / 2), default=right)
            if near_right - max(left, near_left) < height:
                break
            left, right = max(left, near_left), min(right, near_right)
        for span in row:
            sides[span.x0 >= right].append(span.width)
        end += 1
    texts = all(len(side) >= LEAST_LINES and median(side) > SIDE_BY_SIDE * height for side in sides)
    return (end, (left + right) / 2) if texts else (0, 0.0)


def _paragraphs(rows: Sequence[Sequence[Span]], height: float) -> list[list[Sequence[Span]]]:
    found: list[list[Sequence[Span]]] = []
    for row in rows:
        above = found[-1][-1] if found else None
        if above is None or min(s.y0 for s in row) - max(s.y1 for s in above) > PARAGRAPH * height:
            found.append([])
        found[-1].append(row)
    return found


# ---- as Markdown
def _marked(sheet: PageLayout, tables_only: bool) -> list[_Part]:
    found: list[_Part] = []
    at = 0
    for grid in grids(sheet):
        if not tables_only:
            found += _text(
                [*sheet.rows[at : grid.first], *([grid.attachment] if grid.attachment else [])], sheet.height
            )
        spans = [span for row in sheet.rows[grid.first : grid.last + 1] for span in row]
        found.append(_Part(table(grid), spans))
        at = grid.last + 1
    return found if tables_only else found + _text(sheet.rows[at:], sheet.height)


def table(grid: Grid) -> str:
    """The table in Markdown, its first row as the headings."""
    lines = ["| " + " | ".join(cell.text.replace("|", "\\|") for cell in row) + " |" for row in grid.rows]
    return "\n".join([lines[0], "|" + "---|" * len(grid.rows[0]), *lines[1:]])


def _text(rows: Sequence[Sequence[Span]], height: float) -> list[_Part]:
    found = []
    for block in _blocks(rows, height):
        for paragraph in _paragraphs(block, height):
            for large, lines in _by_size(paragraph, height):
                text = ""
                for line in (_line(row, height) for row in lines):
                    glue = "" if not text or (_wide(text[-1]) and _wide(line)) else " "
                    text += glue + re.sub(r"^([#>*+-]|\d+[.)])(?=\s)", r"\\\1", line)
                found.append(_Part(("## " if large else "") + text, [span for row in lines for span in row]))
    return found


def _by_size(rows: Sequence[Sequence[Span]], height: float) -> list[tuple[bool, list[Sequence[Span]]]]:
    """A paragraph cut where its print changes between large and usual."""
    found: list[tuple[bool, list[Sequence[Span]]]] = []
    for row in rows:
        large = median([span.height for span in row]) > HEADING * height
        if not found or found[-1][0] != large:
            found.append((large, []))
        found[-1][1].append(row)
    return found
