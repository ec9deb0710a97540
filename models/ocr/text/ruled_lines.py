"""Find ruled tables by their drawn lines: the edges of rows and columns, and merged cells."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.core.geometry import Box

Mask = NDArray[np.uint8]

SHARE = 1 / 45  # of the page's longer side: a shorter stroke is a letter's
LEAST_PX = 24
ACROSS = 0.35  # of a table's width that a level line must run to part rows
THINNEST = 0.4  # of the usual row: a thinner one is none
SIDE_DRAWN = 0.5  # of the side between two cells: less drawn, and they are one cell
NEAR = 0.006  # of the page's longer side: lines that are closer are one


@dataclass(frozen=True, slots=True)
class RuledGrid:
    """A ruled table in page pixels: edges from left to right and from top to bottom.

    `owner[row][column]` numbers the cells; places that share a number are one cell over several rows or columns.
    """

    xs: tuple[float, ...]
    ys: tuple[float, ...]
    owner: tuple[tuple[int, ...], ...]

    @property
    def box(self) -> Box:
        return Box(self.xs[0], self.ys[0], self.xs[-1] - self.xs[0], self.ys[-1] - self.ys[0])


def ruled_grids(image: NDArray[np.uint8]) -> tuple[RuledGrid, ...]:
    """The ruled tables of an RGB picture of shape (height, width, 3), from top to bottom: two columns or more.

    Lines are found as what stays of the ink when everything shorter than `SHARE` of the page is rubbed out, level or
    upright; a page must be deskewed before.
    """
    import cv2

    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    size = max(grey.shape)
    # each pixel against its surroundings: lines are thin, shaded rows and shadows are not
    ink = cv2.adaptiveThreshold(grey, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY_INV, 31, 8)
    stroke = max(LEAST_PX, round(SHARE * size))
    level = _lines(ink, (stroke, 1))
    upright = _lines(ink, (1, stroke))
    joined = cv2.dilate(level | upright, np.ones((5, 5), np.uint8))
    count, _, stats, _ = cv2.connectedComponentsWithStats(joined)
    found: list[RuledGrid] = []
    for left, top, wide, high, _ in stats[1:count]:
        if wide < 4 * stroke or high < stroke:
            continue
        part = np.s_[top : top + high, left : left + wide]
        for mesh in _tables(level[part], upright[part], NEAR * size):
            found.append(RuledGrid(tuple(left + x for x in mesh.xs), tuple(top + y for y in mesh.ys), mesh.owner))
    kept: list[RuledGrid] = []
    for mesh in sorted(found, key=lambda mesh: -len({cell for row in mesh.owner for cell in row})):
        if not any(_overlap(mesh.box, other.box) for other in kept):  # the shadow of the page's edge makes more of one
            kept.append(mesh)
    return tuple(sorted(kept, key=lambda mesh: mesh.ys[0]))


def _overlap(one: Box, other: Box) -> bool:
    across = min(one.right, other.right) - max(one.x, other.x)
    return across > 0 and min(one.bottom, other.bottom) - max(one.y, other.y) > 0.02 * one.height


def _lines(ink: Mask, kernel: tuple[int, int]) -> Mask:
    """What is left of the ink that runs on for the kernel's length, with small gaps closed."""
    import cv2

    across = (1, 3) if kernel[0] > kernel[1] else (3, 1)  # a line that is not quite level climbs a pixel now and then
    thick = cv2.dilate(ink, np.ones(across[::-1], np.uint8))
    shape = np.ones((kernel[1], kernel[0]), np.uint8)
    return np.asarray(cv2.morphologyEx(thick, cv2.MORPH_OPEN, shape), np.uint8)


def _tables(level: Mask, upright: Mask, near: float) -> list[RuledGrid]:
    """The tables of one set of lines that touch, in its own pixels.

    A form puts tables with other columns below one another into one frame: where neither the upright lines of a row
    are among those of the rows above nor the other way round, the next table begins.
    """
    wide = level.shape[1]
    ys = _rows(_edges((level > 0).sum(axis=1) >= ACROSS * wide, near))
    if len(ys) < 2:
        return []
    least = 0.8 * min(below - above for above, below in pairwise(ys))
    xs = _edges((upright > 0).sum(axis=0) >= least, near)
    reach = max(2, round(near))
    bands: list[tuple[int, int, set[float]]] = []  # from which row, to before which, parted by which lines
    for row, (top, bottom) in enumerate(pairwise(ys)):
        mine = {x for x in xs if _drawn(upright[_inside(top, bottom), _around(x, reach, wide)], 1)}
        if bands and (mine <= bands[-1][2] or bands[-1][2] <= mine):
            bands[-1] = bands[-1][0], row + 1, bands[-1][2] | mine
        else:
            bands.append((row, row + 1, mine))
    return [
        mesh
        for first, end, mine in bands
        if (mesh := _mesh(level, upright, ys[first : end + 1], sorted(mine), reach)) is not None
    ]


def _mesh(level: Mask, upright: Mask, ys: Sequence[float], xs: Sequence[float], reach: int) -> RuledGrid | None:
    """Rows between `ys` and columns between `xs`; None where that is no table."""
    high, wide = level.shape
    rows, columns = len(ys) - 1, len(xs) - 1
    if rows < 1 or columns < 2:
        return None
    owner = list(range(rows * columns))

    def first(cell: int) -> int:
        while owner[cell] != cell:
            cell = owner[cell]
        return cell

    for row in range(rows):
        for column in range(columns):
            cell = row * columns + column
            top, bottom, left, right = ys[row], ys[row + 1], xs[column], xs[column + 1]
            if column + 1 < columns and not _drawn(upright[_inside(top, bottom), _around(right, reach, wide)], 1):
                owner[first(cell + 1)] = first(cell)
            if row + 1 < rows and not _drawn(level[_around(bottom, reach, high), _inside(left, right)], 0):
                owner[first(cell + columns)] = first(cell)
    numbers = tuple(tuple(first(row * columns + column) for column in range(columns)) for row in range(rows))
    return RuledGrid(tuple(xs), tuple(ys), numbers) if len({cell for row in numbers for cell in row}) > 2 else None


def _edges(drawn: NDArray[np.bool_], near: float) -> list[float]:
    """The middles of the stripes in which lines run."""
    found: list[list[int]] = []
    for at in np.flatnonzero(drawn):
        if found and at - found[-1][-1] <= near:
            found[-1].append(int(at))
        else:
            found.append([int(at)])
    return [sum(each) / len(each) for each in found]


def _rows(ys: list[float]) -> list[float]:
    """Without the second of two lines between which no row has room: a double line, or the edge of a shadow."""
    steps = sorted(below - above for above, below in pairwise(ys))
    least = THINNEST * steps[len(steps) // 2] if steps else 0.0
    kept = ys[:1]
    for y in ys[1:]:
        if y - kept[-1] >= least:
            kept.append(y)
    return kept


def _inside(start: float, end: float) -> slice:
    """The middle of a side: its ends belong to the lines that cross it."""
    rim = 0.15 * (end - start)
    return slice(round(start + rim), max(round(start + rim) + 1, round(end - rim)))


def _around(at: float, reach: int, most: int) -> slice:
    return slice(max(0, round(at) - reach), min(most, round(at) + reach + 1))


def _drawn(strip: Mask, axis: int) -> bool:
    return bool((strip > 0).any(axis=axis).mean() >= SIDE_DRAWN)
