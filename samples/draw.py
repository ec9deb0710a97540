"""Sheets drawn: as pictures (with handwriting that trembles and stamps that wear), or as a born-digital PDF."""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont
from sheet import Area, Line, Sheet, Stamp, Text

FONTS: dict[str, tuple[str, int]] = {
    "sans": ("truetype/liberation/LiberationSans-Regular.ttf", 0),
    "sans bold": ("truetype/liberation/LiberationSans-Bold.ttf", 0),
    "narrow": ("truetype/liberation/LiberationSansNarrow-Regular.ttf", 0),
    "serif": ("truetype/liberation/LiberationSerif-Regular.ttf", 0),
    "serif bold": ("truetype/liberation/LiberationSerif-Bold.ttf", 0),
    "lato": ("truetype/lato/Lato-Regular.ttf", 0),
    "lato bold": ("truetype/lato/Lato-Bold.ttf", 0),
    "lato black": ("truetype/lato/Lato-Black.ttf", 0),
    "garamond": ("opentype/ebgaramond/EBGaramond12-Regular.otf", 0),
    "script": ("opentype/dancingscript/DancingScript-Bold.otf", 0),
    "mono": ("truetype/liberation/LiberationMono-Regular.ttf", 0),
    "mono bold": ("truetype/liberation/LiberationMono-Bold.ttf", 0),
    "till": ("truetype/dejavu/DejaVuSansMono.ttf", 0),
    "till bold": ("truetype/dejavu/DejaVuSansMono-Bold.ttf", 0),
    "typewriter": ("opentype/courier-prime/Courier Prime.otf", 0),
    "typewriter bold": ("opentype/courier-prime/Courier Prime Bold.otf", 0),
    "hand": ("truetype/fifthhorseman/dkg.ttf", 0),
    "hand round": ("truetype/breip/Breip.ttf", 0),
    "hei": ("opentype/noto/NotoSansCJK-Regular.ttc", 2),
    "hei bold": ("opentype/noto/NotoSansCJK-Bold.ttc", 2),
    "song": ("opentype/noto/NotoSerifCJK-Regular.ttc", 2),
    "song bold": ("opentype/noto/NotoSerifCJK-Bold.ttc", 2),
    "ming": ("truetype/arphic/uming.ttc", 0),
    "kai": ("truetype/arphic-gkai00mp/gkai00mp.ttf", 0),
}
FONT_ROOT = Path("/usr/share/fonts")


def picture(sheet: Sheet, dpi: float, rng: np.random.Generator) -> Image.Image:
    """The sheet as clean ink on white, RGB."""
    scale = dpi / 72
    image = Image.new("RGB", (round(sheet.width * scale), round(sheet.height * scale)), "white")
    draw = ImageDraw.Draw(image)
    for stroke in sheet.strokes:
        match stroke:
            case Text(hand=True):
                _handwrite(image, stroke, scale, rng)
            case Text():
                anchor = {"left": "ls", "right": "rs", "center": "ms"}[stroke.align]
                draw.text(
                    (stroke.x * scale, stroke.y * scale),
                    stroke.words,
                    stroke.ink,
                    _font(stroke.font, stroke.size * scale),
                    anchor,
                )
            case Line():
                points = [(x * scale, y * scale) for x, y in stroke.points]
                draw.line(points, stroke.ink, max(1, round(stroke.width * scale)), joint="curve")
            case Area():
                corner = (stroke.x * scale, stroke.y * scale)
                draw.rectangle(
                    (corner, (corner[0] + stroke.width * scale, corner[1] + stroke.height * scale)), stroke.fill
                )
            case Stamp():
                _press(image, stroke, scale, rng)
    return image


def pdf(sheets: Sequence[Sheet], path: Path, title: str) -> None:
    """The sheets as a PDF with a text layer. Handwriting and stamps are for pictures only. Same bytes every time."""
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(path), pagesize=(sheets[0].width, sheets[0].height), invariant=1)
    canvas.setTitle(title)
    for sheet in sheets:
        for stroke in sheet.strokes:
            canvas.saveState()
            match stroke:
                case Text():
                    if stroke.font not in pdfmetrics.getRegisteredFontNames():
                        file, index = FONTS[stroke.font]
                        pdfmetrics.registerFont(TTFont(stroke.font, str(FONT_ROOT / file), subfontIndex=index))
                    canvas.setFont(stroke.font, stroke.size)
                    canvas.setFillColorRGB(*(part / 255 for part in stroke.ink))
                    put = {
                        "left": canvas.drawString,
                        "right": canvas.drawRightString,
                        "center": canvas.drawCentredString,
                    }
                    put[stroke.align](stroke.x, sheet.height - stroke.y, stroke.words)
                case Line():
                    canvas.setLineWidth(stroke.width)
                    canvas.setStrokeColorRGB(*(part / 255 for part in stroke.ink))
                    for (x0, y0), (x1, y1) in pairwise(stroke.points):
                        canvas.line(x0, sheet.height - y0, x1, sheet.height - y1)
                case Area():
                    canvas.setFillColorRGB(*(part / 255 for part in stroke.fill))
                    canvas.rect(
                        stroke.x, sheet.height - stroke.y - stroke.height, stroke.width, stroke.height, stroke=0, fill=1
                    )
                case Stamp():
                    raise ValueError("a stamp cannot be pressed on a born-digital page")
            canvas.restoreState()
        canvas.showPage()
    canvas.save()


def _font(name: str, size_px: float) -> ImageFont.FreeTypeFont:
    file, index = FONTS[name]
    return ImageFont.truetype(str(FONT_ROOT / file), size_px, index=index)


def _handwrite(image: Image.Image, stroke: Text, scale: float, rng: np.random.Generator) -> None:
    """Letter by letter, each turned, moved and sized a little, on a baseline that drifts."""
    font = _font(stroke.font, stroke.size * scale)
    length = font.getlength(stroke.words)
    start = stroke.x * scale - {"left": 0.0, "right": length, "center": length / 2}[stroke.align]
    slope, x = float(rng.normal(0, 0.012)), start
    for letter in stroke.words:
        size = stroke.size * scale * float(rng.uniform(0.93, 1.07))
        font = _font(stroke.font, size)
        cell = Image.new("L", (math.ceil(size * 2.2), math.ceil(size * 2.4)), 0)
        ImageDraw.Draw(cell).text((size * 0.5, size * 1.5), letter, 255, font, "ls")
        cell = cell.rotate(float(rng.normal(0, 3.0)), Image.Resampling.BICUBIC, center=(size, size * 1.2))
        cell = cell.filter(ImageFilter.GaussianBlur(size * 0.012))
        pressure = float(rng.uniform(0.82, 1.0))
        at = (
            round(x - size * 0.5),
            round(stroke.y * scale - size * 1.5 + slope * (x - start) + float(rng.normal(0, size * 0.03))),
        )
        image.paste(Image.new("RGB", cell.size, stroke.ink), at, cell.point(lambda level, p=pressure: int(level * p)))
        x += font.getlength(letter) * float(rng.uniform(0.96, 1.05))


def _press(image: Image.Image, stamp: Stamp, scale: float, rng: np.random.Generator) -> None:
    """Ink the stamp on its own mask, wear it down, turn it, and let the paper shine through."""
    radius = stamp.radius * scale
    side = math.ceil(radius * 2.6)
    mask = Image.new("L", (side, side), 0)
    draw, middle, pen = ImageDraw.Draw(mask), side / 2, max(2, round(radius * 0.055))
    if stamp.shape == "seal":
        _seal(mask, draw, stamp, radius, middle, pen)
    else:
        high = radius * 0.36 * len(stamp.rows)
        box = (middle - radius, middle - high / 2 - pen * 2, middle + radius, middle + high / 2 + pen * 2)
        draw.rounded_rectangle(box, radius * 0.08, outline=255, width=pen)
        for number, row in enumerate(stamp.rows):
            size = radius * 0.3
            size *= min(1.0, radius * 1.8 / _font(stamp.font, size).getlength(row))
            draw.text(
                (middle, middle - high / 2 + radius * 0.36 * (number + 0.5)), row, 255, _font(stamp.font, size), "mm"
            )
    mask = mask.rotate(stamp.degrees, Image.Resampling.BICUBIC)
    coarse = Image.fromarray(rng.integers(90, 256, (side // 14 + 2, side // 14 + 2), dtype=np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    fine = Image.fromarray(rng.integers(150, 256, (side, side), dtype=np.uint8)).filter(
        ImageFilter.GaussianBlur(scale * 0.2)
    )
    mask = ImageChops.multiply(ImageChops.multiply(mask, coarse), fine).point(lambda level: int(level * 0.95))
    corner = (round(stamp.x * scale - middle), round(stamp.y * scale - middle))
    under = image.crop((corner[0], corner[1], corner[0] + side, corner[1] + side))
    inked = ImageChops.multiply(under, Image.new("RGB", under.size, stamp.ink))
    image.paste(Image.composite(inked, under, mask), corner)


def _seal(mask: Image.Image, draw: ImageDraw.ImageDraw, stamp: Stamp, radius: float, middle: float, pen: int) -> None:
    draw.ellipse((middle - radius, middle - radius, middle + radius, middle + radius), outline=255, width=pen)
    star = [
        (middle + radius * reach * math.sin(turn), middle - radius * reach * math.cos(turn))
        for turn, reach in ((math.pi * step / 5, (0.3, 0.115)[step % 2]) for step in range(10))
    ]
    draw.polygon(star, fill=255)
    rim, *foot = stamp.rows
    size = radius * 0.27
    spread = math.radians(min(250.0, 21.0 * len(rim)))
    for number, letter in enumerate(rim):
        turn = -spread / 2 + spread * number / max(1, len(rim) - 1)
        cell = Image.new("L", (math.ceil(size * 1.6),) * 2, 0)
        ImageDraw.Draw(cell).text((size * 0.8, size * 0.8), letter, 255, _font(stamp.font, size), "mm")
        cell = cell.rotate(-math.degrees(turn), Image.Resampling.BICUBIC)
        x, y = middle + radius * 0.78 * math.sin(turn), middle - radius * 0.78 * math.cos(turn)
        mask.paste(255, (round(x - size * 0.8), round(y - size * 0.8)), cell)
    for row in foot:
        draw.text((middle, middle + radius * 0.6), row, 255, _font(stamp.font, radius * 0.2), "mm")
