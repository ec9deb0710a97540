"""What a camera sees rather than a scanner: a dial, a board, a loading bay. Drawn large, then made small.

Everything is placed in pixels of the finished picture: boxes that are true here are true in the file.
"""

import math
from pathlib import Path

import numpy as np
import paper
from draw import FONT_ROOT, FONTS
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Colour = tuple[int, int, int]
Point = tuple[float, float]
Rng = np.random.Generator
FINE = 3  # drawn this many times larger


class Brush:
    """Draws in pixels of the finished picture."""

    def __init__(self, width: int, height: int, ground: Colour | Image.Image) -> None:
        self.size = (width, height)
        big = (width * FINE, height * FINE)
        self.image = ground.resize(big) if isinstance(ground, Image.Image) else Image.new("RGB", big, ground)
        self._draw = ImageDraw.Draw(self.image)

    def box(self, x: float, y: float, width: float, height: float, fill: Colour | None, line: Colour | None = None,
            round_px: float = 0, pen: float = 1) -> None:  # fmt: skip
        corners = (x * FINE, y * FINE, (x + width) * FINE, (y + height) * FINE)
        self._draw.rounded_rectangle(corners, round_px * FINE, fill, line, max(1, round(pen * FINE)))

    def disc(self, x: float, y: float, radius: float, fill: Colour | None, line: Colour | None = None,
             pen: float = 1, high: float | None = None) -> None:  # fmt: skip
        tall = radius if high is None else high
        corners = ((x - radius) * FINE, (y - tall) * FINE, (x + radius) * FINE, (y + tall) * FINE)
        self._draw.ellipse(corners, fill, line, max(1, round(pen * FINE)))

    def arc(self, x: float, y: float, radius: float, start: float, end: float, ink: Colour, pen: float) -> None:
        """Degrees clockwise from three o'clock."""
        corners = ((x - radius) * FINE, (y - radius) * FINE, (x + radius) * FINE, (y + radius) * FINE)
        self._draw.arc(corners, start, end, ink, round(pen * FINE))

    def line(self, *points: Point, ink: Colour, pen: float = 1) -> None:
        self._draw.line([(x * FINE, y * FINE) for x, y in points], ink, max(1, round(pen * FINE)), joint="curve")

    def shape(self, *points: Point, fill: Colour) -> None:
        self._draw.polygon([(x * FINE, y * FINE) for x, y in points], fill)

    def text(self, x: float, y: float, words: str, font: str = "sans", size: float = 14, ink: Colour = (25, 25, 28),
             anchor: str = "mm") -> None:  # fmt: skip
        file, index = FONTS[font]
        face = ImageFont.truetype(str(FONT_ROOT / file), size * FINE, index=index)
        self._draw.text((x * FINE, y * FINE), words, ink, face, anchor)

    def done(self) -> Image.Image:
        return self.image.resize(self.size, Image.Resampling.LANCZOS)


def around(x: float, y: float, radius: float, degrees: float) -> Point:
    """The point on a circle, degrees clockwise from three o'clock."""
    turn = math.radians(degrees)
    return x + radius * math.cos(turn), y + radius * math.sin(turn)


def shot(picture: Image.Image, rng: Rng, blur: float = 0.6, noise: float = 2.5, dark: float = 0.4) -> Image.Image:
    """Through a small lens: soft, darker towards the corners, with the sensor's noise."""
    pixels = np.asarray(picture.filter(ImageFilter.GaussianBlur(blur)), np.float32)
    high, wide = pixels.shape[:2]
    ys, xs = np.mgrid[0:high, 0:wide].astype(np.float32)
    away = (xs / wide - 0.5) ** 2 + (ys / high - 0.5) ** 2
    pixels = pixels * (1.04 - dark * away)[..., None] + rng.normal(0, noise, (high, wide, 1))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def rough(rng: Rng, width: int, height: int, tone: Colour, depth: float = 0.05) -> Image.Image:
    """A wall or a floor of one colour."""
    light = 1 + depth * paper.cloud(rng, width, height, 120) + depth * 0.5 * paper.cloud(rng, width, height, 2.5)
    return Image.fromarray(np.clip(np.asarray(tone, np.float32) * light[..., None], 0, 255).astype(np.uint8))


# ---- a dial
FIRST, LAST = 135.0, 405.0  # degrees of the scale's ends


def dial(path: Path, rng: Rng, reading: float, mark: float, top: float, step: float, unit: str) -> None:
    """A pressure gauge on a wall. `step`: between two small ticks; every fourth is long and has its number."""
    brush = Brush(720, 720, rough(rng, 720, 720, (132, 140, 138)))
    x, y = 366.0, 350.0

    def at(value: float) -> float:
        return FIRST + (LAST - FIRST) * value / top

    brush.box(338, 600, 56, 120, (148, 118, 62), (96, 74, 36))
    brush.box(326, 640, 80, 34, (168, 136, 76), (96, 74, 36))
    brush.disc(x + 10, y + 14, 292, (96, 102, 101))
    for ring in range(34):
        tone = 92 + round(120 * math.sin(ring / 33 * math.pi))
        brush.disc(x, y, 286 - ring, (tone, tone, tone + 4))
    brush.disc(x, y, 252, (243, 243, 238), (60, 60, 62), 1.5)
    brush.arc(x, y, 214, at(mark), LAST, (214, 44, 40), 9)
    count = round(top / step)
    for tick in range(count + 1):
        turn, long = at(tick * step), tick % 4 == 0
        outer, inner = around(x, y, 214, turn), around(x, y, 182 if long else 198, turn)
        brush.line(outer, inner, ink=(20, 20, 22), pen=4 if long else 1.8)
        if long:
            value = f"{tick * step:.1f}".removesuffix(".0") if tick else "0"
            brush.text(*around(x, y, 152, turn), value, "sans bold", 30)
    brush.line(around(x, y, 226, at(mark)), around(x, y, 176, at(mark)), ink=(200, 20, 24), pen=6)
    brush.text(x, y + 92, unit, "sans bold", 32)
    brush.text(x, y - 84, "ALDERFELD", "lato bold", 19, (40, 60, 110))
    brush.text(x, y + 190, "CL 1.6   EN 837-1", "sans", 13, (70, 70, 72))
    turn = at(reading)
    tip, left, right = around(x, y, 196, turn), around(x, y, 9, turn + 90), around(x, y, 9, turn - 90)
    back = around(x, y, 62, turn + 180)
    shade = [(px + 6, py + 8) for px, py in (tip, left, back, right)]
    brush.shape(*shade, fill=(206, 206, 202))
    brush.shape(tip, left, back, right, fill=(18, 18, 20))
    brush.disc(x, y, 20, (52, 52, 54), (20, 20, 22), 2)
    brush.disc(x, y, 7, (150, 150, 152))
    picture = brush.done()
    glass = Image.new("L", picture.size, 0)  # a window mirrored in the glass
    ImageDraw.Draw(glass).polygon([(208, 236), (300, 150), (330, 168), (236, 262)], 70)
    ImageDraw.Draw(glass).polygon([(250, 276), (340, 184), (352, 192), (264, 288)], 46)
    picture = Image.composite(
        Image.new("RGB", picture.size, "white"), picture, glass.filter(ImageFilter.GaussianBlur(5))
    )
    slant = (1.0, 0.035, -14, 0.012, 1.0, -6, 0.00004, 0.00003)  # the camera stands a little to one side
    picture = picture.transform(picture.size, Image.Transform.PERSPECTIVE, slant, Image.Resampling.BICUBIC)
    shot(picture.crop((24, 20, 704, 700)), rng).save(path, "JPEG", quality=72, optimize=True)


# ---- a board
MASK, COPPER, SILK, TIN = (22, 84, 52), (44, 118, 74), (226, 232, 226), (198, 202, 204)
ROWS = tuple((x, y) for y in (150.0, 330.0) for x in (110.0 + 44 * n for n in range(12)))


def board(path: Path, rng: Rng, faults: dict[str, list[tuple[float, float, float, float]]]) -> None:
    """Two rows of soldered pads of a chip, and two of its capacitors. `faults`: boxes x0, y0, x1, y1 by label."""
    brush = Brush(760, 520, rough(rng, 760, 520, MASK, 0.03))
    for x, y in ROWS:
        end = y - 60 if y < 200 else y + 60
        brush.line((x, y), (x, end), (x + (end - y) * 0.4, end + (end - y) * 0.5), ink=COPPER, pen=7)
    brush.box(84, 196, 536, 90, (30, 31, 34), (14, 14, 16), 4, 2)
    brush.disc(108, 262, 7, (58, 60, 64))
    brush.text(352, 232, "VK4417-B", "sans", 24, (150, 152, 156))
    brush.text(352, 262, "2419 Q3", "sans", 17, (130, 132, 136))
    brush.text(86, 112, "U7", "mono bold", 20, SILK)
    missing = faults.get("missing solder", [])
    for x, y in ROWS:
        inward = 40 if y < 200 else -40
        brush.box(x - 13, y - 24, 26, 48, (190, 150, 84), (120, 92, 46), 3)
        if not any(left <= x <= right and top <= y <= bottom for left, top, right, bottom in missing):
            _blob(brush, x, y, 14, 23, rng)
        brush.box(x - 7, min(y, y + inward), 14, 40, (168, 172, 175), (120, 124, 128), 2)
    for left, top, right, bottom in faults.get("solder bridge", []):
        middle = (top + bottom) / 2
        brush.disc((left + right) / 2, middle, (right - left) / 2, TIN, (140, 146, 150), 1.2, (bottom - top) / 2)
        brush.disc((left + right) / 2 - 6, middle - 4, (right - left) / 5, (238, 240, 242), high=(bottom - top) / 6)
    for name, x in (("C12", 668.0), ("C13", 668.0)):
        y = 196.0 if name == "C12" else 330.0
        brush.text(x, y - 58, name, "mono bold", 17, SILK)
        for side in (-26.0, 26.0):
            brush.box(x + side - 15, y - 20, 30, 40, (190, 150, 84), (120, 92, 46), 2)
            _blob(brush, x + side, y, 15, 19, rng)
        brush.box(x - 26, y - 15, 52, 30, (172, 134, 98), (96, 70, 46), 2)
    for left, top, right, _ in faults.get("solder ball", []):
        radius = (right - left) / 2
        brush.disc(left + radius, top + radius, radius, TIN, (110, 116, 120), 1)
        brush.disc(left + radius * 0.75, top + radius * 0.7, radius * 0.3, (244, 245, 246))
    for x, y in ((40, 40), (720, 480)):
        brush.disc(x, y, 19, (204, 168, 96), (120, 92, 46), 2)
        brush.disc(x, y, 10, (16, 18, 18))
    shot(brush.done(), rng, 0.7, 3.0).save(path, "JPEG", quality=68, optimize=True)


def _blob(brush: Brush, x: float, y: float, wide: float, high: float, rng: Rng) -> None:
    wide, high = wide * float(rng.uniform(0.93, 1.05)), high * float(rng.uniform(0.93, 1.05))
    brush.disc(x, y, wide, (150, 155, 158), high=high)
    brush.disc(x, y, wide * 0.84, TIN, high=high * 0.84)


# ---- a loading bay
def loading_bay(path: Path, rng: Rng) -> None:
    """Cartons before a fire door, a puddle with its sign, an extinguisher. Nothing says what is wrong."""
    brush = Brush(900, 620, rough(rng, 900, 620, (206, 204, 194), 0.03))
    floor = [(0.0, 430.0), (900.0, 430.0), (900.0, 620.0), (0.0, 620.0)]
    brush.shape(*floor, fill=(150, 148, 144))
    brush.shape((0, 560), (900, 500), (900, 516), (0, 580), fill=(222, 186, 40))
    brush.box(60, 120, 270, 310, (92, 110, 128), (60, 72, 84), 0, 4)  # the roller door
    for y in range(134, 430, 16):
        brush.line((62, y), (328, y), ink=(76, 92, 108), pen=2)
    brush.box(150, 60, 90, 46, (250, 250, 248), (40, 40, 42), 3, 2)
    brush.text(195, 84, "DOOR 3", "sans bold", 20)
    brush.box(560, 170, 150, 262, (120, 148, 126), (70, 90, 76), 0, 4)  # the fire door
    brush.box(690, 296, 14, 34, (60, 62, 64))
    brush.box(572, 112, 126, 40, (18, 138, 74), (10, 92, 48), 3, 2)
    brush.text(635, 133, "FIRE EXIT", "sans bold", 21, (255, 255, 255))
    brush.box(796, 236, 40, 104, (206, 28, 32), (130, 14, 18), 14, 2)  # the extinguisher
    brush.box(808, 214, 16, 24, (40, 40, 42))
    brush.line((824, 222), (848, 240), (850, 300), ink=(26, 26, 28), pen=5)
    brush.box(786, 168, 60, 36, (206, 28, 32))
    brush.text(816, 187, "FIRE", "sans bold", 16, (255, 255, 255))
    for x, y, wide, high in ((548, 466, 190, 14), (548, 488, 190, 10)):  # the pallet
        brush.box(x, y, wide, high, (168, 128, 78), (110, 80, 44))
    for row, (x, y) in enumerate(((552, 380), (642, 380), (598, 296))):
        brush.box(x, y, 88, 86, (196, 152, 100), (136, 100, 60), 0, 2)
        brush.line((x + 44, y), (x + 44, y + 86), ink=(214, 180, 136), pen=9)
        brush.text(x + 22, y + 68, ("A1", "A2", "A3")[row], "sans bold", 14, (92, 64, 36))
    brush.disc(352, 540, 112, (112, 122, 132), high=30)  # the puddle
    brush.disc(330, 534, 52, (168, 184, 196), high=9)
    brush.shape((452, 548), (486, 452), (520, 548), fill=(250, 206, 26))
    brush.shape((466, 540), (486, 484), (506, 540), fill=(40, 40, 40))
    brush.text(486, 527, "!", "sans bold", 26, (250, 206, 26))
    shot(brush.done(), rng, 0.8, 3.5, 0.55).save(path, "JPEG", quality=68, optimize=True)
