"""The drawn lines of tables: where the cells of a ruled table lie on a page, and which of them are one."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.types import Box

Mask = NDArray[np.uint8]

SHARE = 1 / 45  # of the page's longer side: a shorter stroke is a letter's
LEAST_PX = 24
ACROSS = 0.35  # of a table's width or height that a line must run to part rows or columns
SIDE_DRAWN = 0.5  # of the side between two cells: less drawn, and they are one cell
NEAR = 0.006  # of the page's longer side: lines that stand closer are one


@dataclass(frozen=True, slots=True)
class Mesh:
    """A ruled table in page pixels: edges from left to right and from top to bottom.

    `owner[row][column]` numbers the cells; places that share a number are one cell over several rows or columns.
    """

    xs: tuple[float, ...]
    ys: tuple[float, ...]
    owner: tuple[tuple[int, ...], ...]

    @property
    def box(self) -> Box:
        return Box(self.xs[0], self.ys[0], self.xs[-1] - self.xs[0], self.ys[-1] - self.ys[0])


def meshes(image: NDArray[np.uint8]) -> tuple[Mesh, ...]:
    """The ruled tables of an RGB picture of shape (height, width, 3), from top to bottom: two rows and columns or more.

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
    found = []
    for left, top, wide, high, _ in stats[1:count]:
        if wide < 4 * stroke or high < stroke:
            continue
        part = np.s_[top : top + high, left : left + wide]
        mesh = _mesh(level[part], upright[part], NEAR * size)
        if mesh is not None:
            xs, ys = tuple(left + x for x in mesh.xs), tuple(top + y for y in mesh.ys)
            found.append(Mesh(xs, ys, mesh.owner))
    return tuple(sorted(found, key=lambda mesh: mesh.ys[0]))


def _lines(ink: Mask, kernel: tuple[int, int]) -> Mask:
    """What is left of the ink that runs on for the kernel's length, with small gaps closed."""
    import cv2

    across = (1, 3) if kernel[0] > kernel[1] else (3, 1)  # a line that is not quite level climbs a pixel now and then
    thick = cv2.dilate(ink, np.ones(across[::-1], np.uint8))
    shape = np.ones((kernel[1], kernel[0]), np.uint8)
    return np.asarray(cv2.morphologyEx(thick, cv2.MORPH_OPEN, shape), np.uint8)


def _mesh(level: Mask, upright: Mask, near: float) -> Mesh | None:
    """The mesh of one set of lines that touch, in its own pixels; None where it is no table."""
    high, wide = level.shape
    ys = _edges((level > 0).sum(axis=1) / wide, near)
    xs = _edges((upright > 0).sum(axis=0) / high, near)
    if len(xs) < 3 or len(ys) < 3:
        return None
    rows, columns = len(ys) - 1, len(xs) - 1
    owner = list(range(rows * columns))

    def first(cell: int) -> int:
        while owner[cell] != cell:
            cell = owner[cell]
        return cell

    reach = max(2, round(near))
    for row in range(rows):
        for column in range(columns):
            cell = row * columns + column
            top, bottom, left, right = ys[row], ys[row + 1], xs[column], xs[column + 1]
            if column + 1 < columns and not _drawn(upright[_inside(top, bottom), _around(right, reach, wide)], 1):
                owner[first(cell + 1)] = first(cell)
            if row + 1 < rows and not _drawn(level[_around(bottom, reach, high), _inside(left, right)], 0):
                owner[first(cell + columns)] = first(cell)
    numbers = tuple(tuple(first(row * columns + column) for column in range(columns)) for row in range(rows))
    return Mesh(tuple(xs), tuple(ys), numbers) if len({cell for row in numbers for cell in row}) > 3 else None


def _edges(shares: NDArray[np.float64], near: float) -> list[float]:
    """The middles of the stripes in which lines run on for `ACROSS` of the whole."""
    found: list[list[int]] = []
    for at in np.flatnonzero(shares >= ACROSS):
        if found and at - found[-1][-1] <= near:
            found[-1].append(int(at))
        else:
            found.append([int(at)])
    return [sum(each) / len(each) for each in found]


def _inside(start: float, end: float) -> slice:
    """The middle of a side: its ends belong to the lines that cross it."""
    rim = 0.15 * (end - start)
    return slice(round(start + rim), max(round(start + rim) + 1, round(end - rim)))


def _around(at: float, reach: int, most: int) -> slice:
    return slice(max(0, round(at) - reach), min(most, round(at) + reach + 1))


def _drawn(strip: Mask, axis: int) -> bool:
    return bool((strip > 0).any(axis=axis).mean() >= SIDE_DRAWN)
