"""A sheet of paper to write on: a list of strokes in points (1/72 inch, y down); draw.py draws it.

Nothing here needs a font, so that the tests can read what stands on a sheet without any.
"""

from dataclasses import dataclass, field
from typing import Literal

Ink = tuple[int, int, int]
Align = Literal["left", "right", "center"]
BLACK, GREY, BLUE, RED, PEN = (25, 25, 28), (110, 110, 112), (30, 60, 130), (200, 30, 35), (28, 44, 120)
A4 = (595.0, 842.0)


@dataclass(frozen=True, slots=True)
class Text:
    """`x`, `y`: where the baseline starts, ends or has its middle. `hand`: every letter stands a little otherwise."""

    x: float
    y: float
    words: str
    font: str
    size: float
    align: Align
    ink: Ink
    hand: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    points: tuple[tuple[float, float], ...]
    width: float
    ink: Ink


@dataclass(frozen=True, slots=True)
class Area:
    x: float
    y: float
    width: float
    height: float
    fill: Ink


@dataclass(frozen=True, slots=True)
class Stamp:
    """A rubber stamp around (x, y). `shape`: a round seal with a star and words along its rim, or a frame of rows."""

    x: float
    y: float
    radius: float
    rows: tuple[str, ...]
    shape: Literal["seal", "frame"]
    ink: Ink
    degrees: float
    font: str


@dataclass
class Sheet:
    width: float = A4[0]
    height: float = A4[1]
    strokes: list[Text | Line | Area | Stamp] = field(default_factory=list)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        font: str = "sans",
        size: float = 9.0,
        align: Align = "left",
        ink: Ink = BLACK,
        leading: float = 1.3,
    ) -> float:
        """Write rows of words; the baseline under the last one is returned."""
        for row in words.split("\n"):
            self.strokes.append(Text(x, y, row, font, size, align, ink))
            y += size * leading
        return y

    def hand(
        self,
        x: float,
        y: float,
        words: str,
        font: str = "hand",
        size: float = 12.0,
        ink: Ink = PEN,
        align: Align = "left",
    ) -> None:
        self.strokes.append(Text(x, y, words, font, size, align, ink, hand=True))

    def line(self, *points: tuple[float, float], width: float = 0.6, ink: Ink = BLACK) -> None:
        self.strokes.append(Line(points, width, ink))

    def frame(self, x: float, y: float, width: float, height: float, line: float = 0.6, ink: Ink = BLACK) -> None:
        corners = ((x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y))
        self.strokes.append(Line(corners, line, ink))

    def area(self, x: float, y: float, width: float, height: float, fill: Ink) -> None:
        self.strokes.append(Area(x, y, width, height, fill))

    def stamp(
        self,
        x: float,
        y: float,
        radius: float,
        *rows: str,
        shape: Literal["seal", "frame"] = "frame",
        ink: Ink = RED,
        degrees: float = 0.0,
        font: str = "sans bold",
    ) -> None:
        self.strokes.append(Stamp(x, y, radius, rows, shape, ink, degrees, font))

    def words(self) -> list[str]:
        """All rows that were written, in the order of writing; stamps are decoration and left out."""
        return [stroke.words for stroke in self.strokes if isinstance(stroke, Text)]
