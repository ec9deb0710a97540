"""Find any printed table, ruled or not, from the alignment of its text.

Lists whose columns a job names are read by header_table.py; here only the places of the text are known.
"""

import re
from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from models.ocr.tables.cells import Piece, join, pieces, whole
from models.ocr.text.layout import PageLayout, Span, around, mean_score, median
from models.ocr.text.ruled_lines import RuledGrid
from pipeline.core.geometry import Box

ROW_GAP = 3.0  # line heights without print end a table
GUTTER = 0.2  # line heights between two columns, at least
CROSSING = 0.2  # of the rows may have print across a gutter: headings over several columns
ALIGNED = 0.8  # line heights: ends or middles of a column's cells that differ less are aligned
ALIGNED_SHARE = 0.65  # of a column's cells, on the average of its columns
PROSE = 14.0  # line heights: two columns whose lines are longer are text in columns
CLOSE = 0.82  # of the usual step from row to row: what follows nearer is one more line of the same row
FAR, CROWDED = 1.0, 0.08  # line heights between two columns; of a mesh's cells that may hold several
STACKED = 0.7  # of the cells of a row in drawn lines that may have several lines of print; more are several rows
BESIDE = 0.25  # of the print in a mesh that may be right and left of it; more is a part of the table
FULL = 0.6  # of the columns: a row that fills as many is a row of its own

RULES = re.compile(r"^[·|¦]+\s*(?=\w)|(?<=\w)\s*[|¦]+$")  # bits of the lines around a cell, taken for print


@dataclass(frozen=True, slots=True)
class GridCell:
    """A cell: its text and its box in page pixels; "" and None where nothing is printed."""

    text: str = ""
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: rows `first` … `last` of the sheet, as cells. Every row has one cell a column; the headings come first.

    `score` is the reader's, 0..1, on the average of the print. `attachment` is print on those rows that is not in the
    table.
    """

    first: int
    last: int
    rows: tuple[tuple[GridCell, ...], ...]
    score: float
    attachment: tuple[Span, ...] = ()


def grids(sheet: PageLayout) -> list[Grid]:
    """The tables of a page from top to bottom: first those in drawn lines, then what is aligned between them."""
    # what the layout joins to phrases may be two cells close together
    lines = [[part for span in row for part in (span.parts or (span,))] for row in sheet.rows]
    ruled: list[Grid] = []
    for mesh in sheet.meshes:
        grid = _ruled(lines, mesh, sheet.height)
        if grid is not None and (not ruled or grid.first > ruled[-1].last):
            ruled.append(grid)
    found: list[Grid] = []
    at = 0
    for grid in ruled:
        found += [*_aligned(lines, at, grid.first, sheet.height), grid]
        at = grid.last + 1
    return found + _aligned(lines, at, len(lines), sheet.height)


# ---- in drawn lines
def _ruled(lines: Sequence[Sequence[Span]], mesh: RuledGrid, height: float) -> Grid | None:
    """The table in a mesh; None where hardly anything is printed in it, or where lines seem to lack."""
    box = mesh.box
    cells: dict[int, list[Piece]] = {}
    numbers, inside, attachment = [], [], []
    for number, row in enumerate(lines):
        middles = [(span, span.box.x + span.box.width / 2, span.box.y + span.box.height / 2) for span in row]
        mine = [span for span, x, y in middles if box.x < x < box.right and box.y < y < box.bottom]
        if not mine:
            continue
        numbers.append(number)
        inside += mine
        attachment += [span for span in row if span not in mine]
        for span in mine:
            for piece in _parted(span, mesh.xs):
                x, y = piece.box.x + piece.box.width / 2, piece.box.y + piece.box.height / 2
                across = min(max(bisect(mesh.xs, x) - 1, 0), len(mesh.xs) - 2)
                down = min(max(bisect(mesh.ys, y) - 1, 0), len(mesh.ys) - 2)
                cells.setdefault(mesh.owner[down][across], []).append(piece)
    if len(cells) < 3 or len(attachment) > BESIDE * len(inside) or not _fits_print(cells, mesh, height):
        return None
    told = {cell: _entry(parts) for cell, parts in cells.items()}
    used = [column for column in range(len(mesh.xs) - 1) if any(row[column] in told for row in mesh.owner)]
    rows = [tuple(told.get(row[column], GridCell()) for column in used) for row in mesh.owner]
    filled = tuple(row for row in rows if any(cell.text for cell in row))
    return Grid(numbers[0], numbers[-1], filled, mean_score(inside), tuple(attachment))


def _fits_print(cells: Mapping[int, Sequence[Piece]], mesh: RuledGrid, height: float) -> bool:
    """Whether the text fits the drawn lines: no cell holds several columns, no row several rows."""
    crowded = 0
    for parts in cells.values():
        ordered = sorted(parts, key=lambda part: part.x0)
        crowded += any(
            right.x0 - left.x1 > FAR * height and min(left.y1, right.y1) - max(left.y0, right.y0) > 0.5 * height
            for left, right in pairwise(ordered)
        )
    if crowded > CROWDED * len(cells):
        return False
    for row in mesh.owner:
        told = [cells[cell] for cell in set(row) if cell in cells]
        stacked = sum(max(part.y0 for part in parts) > min(part.y1 for part in parts) for parts in told)
        if len(told) > 1 and stacked > STACKED * len(told):
            return False
    return True


def _parted(span: Span, xs: Sequence[float]) -> list[Piece]:
    """The print of a span, cut where it runs through an upright line."""
    rim = 0.5 * span.box.height
    through = [x for x in xs if span.box.x + rim < x < span.box.right - rim]
    if not through:
        return [whole(span)]
    words = pieces(span)
    if len(words) == 1:
        words = [
            Piece(char, box := span.part(at, at + 1), box.x, box.right, span.y0, span.y1, span.score)
            for at, char in enumerate(span.text)
        ]
    sides: dict[int, list[Piece]] = {}
    for word in words:
        sides.setdefault(bisect(through, word.box.x + word.box.width / 2), []).append(word)
    glue = " " if " " in span.text else ""
    return [
        Piece(glue.join(word.text for word in side), around([word.box for word in side]), side[0].x0, side[-1].x1,
              span.y0, span.y1, span.score)
        for side in sides.values()
    ]  # fmt: skip


# ---- by alignment
def _aligned(lines: Sequence[Sequence[Span]], start: int, end: int, height: float) -> list[Grid]:
    """The tables among the rows from `start` to before `end`."""
    lines = lines[:end]
    found: list[Grid] = []
    at = start
    while at < end:
        numbers = _grown(lines, at, height) if len(lines[at]) > 1 else []
        bounds = _columns([lines[number] for number in numbers], height)
        if not _is_table([lines[number] for number in numbers], bounds, height):
            at += 1
            continue
        floor = found[-1].last + 1 if found else start
        while numbers[0] - 1 >= floor and _heads(lines, numbers[0] - 1, bounds, height):
            numbers.insert(0, numbers[0] - 1)
        found.append(_grid(lines, numbers, bounds))
        at = numbers[-1] + 1
    return found


def _grown(lines: Sequence[Sequence[Span]], start: int, height: float) -> list[int]:
    """The numbers of the rows from `start` on that go on in the same columns."""
    rows, waiting = [start], []
    columns = len(lines[start])
    for number in range(start + 1, len(lines)):
        row = lines[number]
        above = lines[number - 1]
        if min(span.y0 for span in row) - max(span.y1 for span in above) > ROW_GAP * height:
            break
        if len(row) == 1:  # a cell that goes on, a row with one cell, or the text below the table
            waiting.append(number)
            if len(waiting) > 3:
                break
            continue
        tried = [*rows, *waiting, number]
        now = len(_columns([lines[each] for each in tried], height))
        if now < 2 or now < 0.7 * max(columns, len(row)):
            break
        rows, waiting, columns = tried, [], now
    bounds = _columns([lines[each] for each in rows], height)
    for number in waiting:  # below the last row only what goes on in one of its columns, close by
        (span,) = lines[number]
        near = span.y0 - max(other.y1 for other in lines[number - 1]) < 0.3 * height
        if not near or len(_reached(span, bounds)) > 1 or _reached(span, bounds) == [0]:
            break
        rows.append(number)
    return rows


def _heads(lines: Sequence[Sequence[Span]], number: int, bounds: Sequence[tuple[float, float]], height: float) -> bool:
    """Whether a row above a table is a heading of several of its columns."""
    row, below = lines[number], lines[number + 1]
    near = min(span.y0 for span in below) - max(span.y1 for span in row) < height
    return near and len(row) > 1 and all(_reached(span, bounds) for span in row)


def _columns(rows: Sequence[Sequence[Span]], height: float) -> list[tuple[float, float]]:
    """Left and right ends of the columns, in deskewed pixels: what is left between stripes with hardly any print."""
    edges = sorted([(span.x0, 1) for row in rows for span in row] + [(span.x1, -1) for row in rows for span in row])
    allowed = int(CROSSING * len(rows))
    found: list[tuple[float, float]] = []
    depth, begun = 0, None
    for x, step in edges:
        depth += step
        if begun is None and depth > allowed:
            begun = x
        elif begun is not None and depth <= allowed:
            if found and begun - found[-1][1] < GUTTER * height:
                found[-1] = found[-1][0], x
            else:
                found.append((begun, x))
            begun = None
    return found


def _is_table(rows: Sequence[Sequence[Span]], bounds: Sequence[tuple[float, float]], height: float) -> bool:
    many = [row for row in rows if len(row) > 1]
    if len(bounds) < 2 or len(many) < (2 if len(bounds) > 3 else 3):
        return False
    shares, widths = [], []
    for left, right in bounds:
        spans = [span for row in many for span in row if left <= span.cx <= right]
        if not spans:
            continue
        ends = [[span.x0 for span in spans], [span.x1 for span in spans], [span.cx for span in spans]]
        shares.append(max(sum(abs(x - median(each)) < ALIGNED * height for x in each) / len(each) for each in ends))
        widths.append(median([span.width for span in spans]))
    if len(bounds) == 2 and min(widths, default=0.0) > PROSE * height:
        return False
    return sum(shares) / len(shares) >= ALIGNED_SHARE


def _reached(span: Span, bounds: Sequence[tuple[float, float]]) -> list[int]:
    """The columns that a span covers in good part; the nearest where it covers none."""
    shared = [min(right, span.x1) - max(left, span.x0) for left, right in bounds]
    found = [i for i, (left, right) in enumerate(bounds) if shared[i] > 0.5 * min(right - left, span.width)]
    return found or [max(range(len(bounds)), key=shared.__getitem__)]


def _grid(lines: Sequence[Sequence[Span]], numbers: Sequence[int], bounds: Sequence[tuple[float, float]]) -> Grid:
    placed = [_placed(lines[number], bounds) for number in numbers]
    middles = [median([span.cy for span in lines[number]]) for number in numbers]
    spans = [span for number in numbers for span in lines[number]]
    rows = tuple(
        tuple(_entry([part for line in row for part in line.get(column, ())]) for column in range(len(bounds)))
        for row in _gathered(placed, middles, len(bounds))
    )
    return Grid(numbers[0], numbers[-1], rows, mean_score(spans))


def _placed(row: Iterable[Span], bounds: Sequence[tuple[float, float]]) -> dict[int, list[Piece]]:
    """The print of a row by column. What a reader took for one line although a gutter runs through it is cut there;
    text across a gutter is put into each of its columns."""
    found: dict[int, list[Piece]] = {}
    for span in row:
        reached = _reached(span, bounds)
        words = pieces(span)
        if len(reached) > 1 and (cut := _cut(words, [bounds[column] for column in reached])):
            for column, part in zip(reached, cut, strict=True):
                found.setdefault(column, []).extend(part)
            continue
        for column in reached:
            found.setdefault(column, []).append(whole(span))
    return found


def _cut(words: Sequence[Piece], bounds: Sequence[tuple[float, float]]) -> list[list[Piece]]:
    """The words by column, where every column gets some and none lies across a gutter; else nothing."""
    cut: list[list[Piece]] = [[] for _ in bounds]
    for word in words:
        inside = [
            i for i, (left, right) in enumerate(bounds)
            if min(right, word.x1) - max(left, word.x0) > 0.7 * (word.x1 - word.x0)
        ]  # fmt: skip
        if len(inside) != 1:
            return []
        cut[inside[0]].append(word)
    return cut if all(cut) else []


def _gathered(
    placed: Sequence[dict[int, list[Piece]]], middles: Sequence[float], columns: int
) -> list[list[dict[int, list[Piece]]]]:
    """The printed lines of each row: a cell with several lines has lines that follow closer than rows do."""
    full = [len(line) >= FULL * columns for line in placed]
    steps = [below - above for above, below in pairwise(middles)]
    usual = median([step for i, step in enumerate(steps) if full[i] and full[i + 1]])
    rows: list[list[dict[int, list[Piece]]]] = []
    for i, line in enumerate(placed):
        close = i > 0 and steps[i - 1] < CLOSE * usual
        goes_on = close and (0 not in line or not any(set(line) & set(before) for before in rows[-1]))
        if goes_on:
            rows[-1].append(line)
        else:
            rows.append([line])
    return rows


def _entry(parts: Sequence[Piece]) -> GridCell:
    return GridCell(RULES.sub("", join(parts)), around([part.box for part in parts])) if parts else GridCell()
