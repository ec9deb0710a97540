"""Pictures from inside a page or a program: a figure of a medical paper, a screen of a web program."""

from pathlib import Path

import numpy as np
import paper
from PIL import Image, ImageFilter
from scenes import Brush, Rng

CAPTION = (
    "Figure 3. Axial CT of the chest in the lung window, without contrast medium.",
    "A solid nodule of 14 mm with a spiculated edge in the left upper lobe (arrow).",
    "A small effusion lies behind the right lung (asterisk). No enlarged lymph nodes.",
)


def ct_figure(path: Path, rng: Rng) -> None:
    """A slice of a chest as such pictures look, drawn from ellipses; it shows nobody."""
    wide, high = 560, 420
    brush = Brush(wide, high, (6, 6, 6))
    x, y = 280.0, 206.0
    brush.disc(x, y, 236, (112, 112, 112), high=172)  # skin and fat
    brush.disc(x, y, 226, (150, 150, 150), high=162)  # muscle
    for side in (-1, 1):
        brush.disc(x + side * 116, y - 4, 92, (34, 34, 34), high=126)  # lungs
        for rib in range(5):
            turn = -64 + 30 * rib
            at = (x + side * 205 * np.cos(np.radians(turn)), y + 140 * np.sin(np.radians(turn)))
            brush.disc(float(at[0]), float(at[1]), 17, (226, 226, 226), high=7)
    brush.disc(x - 4, y - 34, 58, (158, 158, 158), high=66)  # heart and great vessels
    brush.disc(x + 30, y + 46, 21, (172, 172, 172))  # aorta
    brush.disc(x, y + 22, 13, (20, 20, 20), high=11)  # windpipe
    brush.disc(x, y + 112, 32, (228, 228, 228), high=27)  # spine
    brush.disc(x, y + 118, 12, (120, 120, 120))
    brush.shape((x - 12, y + 134), (x + 12, y + 134), (x, y + 166), fill=(220, 220, 220))
    dice = np.random.default_rng(7)
    for _ in range(90):  # vessels of the lungs
        side = 1 if dice.random() < 0.5 else -1
        turn, far = dice.uniform(0, 6.28), dice.uniform(0.1, 0.92) ** 0.7
        px, py = x + side * 116 + 82 * far * np.cos(turn), y - 4 + 114 * far * np.sin(turn)
        brush.disc(float(px), float(py), float(dice.uniform(1.0, 3.4)), (96, 96, 96))
    brush.shape((x - 186, y + 72), (x - 140, y + 96), (x - 78, y + 108), (x - 104, y + 122), (x - 164, y + 110),
                fill=(138, 138, 138))  # fmt: skip
    nodule = (x + 132, y - 56)
    for spike in range(14):
        turn = spike * 0.449
        far = 17 if spike % 2 else 22
        tip = (nodule[0] + far * float(np.cos(turn)), nodule[1] + far * float(np.sin(turn)))
        brush.line(nodule, tip, ink=(150, 150, 150), pen=1.6)
    brush.disc(*nodule, 12, (186, 186, 186))
    soft = brush.done().filter(ImageFilter.GaussianBlur(1.2))
    grain = 9 * paper.cloud(rng, wide, high, 1.6) + 4 * paper.cloud(rng, wide, high, 5)
    slice_ = np.clip(np.asarray(soft, np.float32) * (1 + grain[..., None] / 160) + 2, 0, 255).astype(np.uint8)
    page = Brush(680, 560, (255, 255, 255))
    page.image.paste(Image.fromarray(slice_).resize((wide * 3, high * 3)), (60 * 3, 20 * 3))
    page.text(74, 38, "a", "sans bold", 24, (250, 250, 250), "lm")
    page.text(70, y + 20, "R", "sans", 20, (240, 240, 240), "lm")
    tip = (nodule[0] + 60 + 20, nodule[1] + 20 - 14)
    page.line((tip[0] + 44, tip[1] - 34), tip, ink=(255, 255, 255), pen=3.5)
    page.shape((tip[0] - 4, tip[1] + 4), (tip[0] + 15, tip[1] - 4), (tip[0] + 6, tip[1] - 15), fill=(255, 255, 255))
    page.text(x - 96 + 60, y + 128 + 20, "*", "sans bold", 34, (255, 255, 255))
    page.line((580, 424), (612, 424), ink=(255, 255, 255), pen=4)
    page.text(596, 410, "3 cm", "sans", 13, (255, 255, 255))
    for row, words in enumerate(CAPTION):
        page.text(60, 468 + 26 * row, words, "serif", 16.5, (20, 20, 20), "lm")
    page.done().convert("L").save(path, "JPEG", quality=70, optimize=True)


BLUE, INK, LINE, PALE, SOFT = (64, 158, 255), (48, 49, 51), (220, 223, 230), (245, 247, 250), (144, 147, 153)


def device_form(path: Path) -> None:
    """A screen of an invented maintenance program, in the look of Element Plus."""
    ui = Brush(880, 620, PALE)
    ui.box(0, 0, 880, 54, (255, 255, 255), LINE)
    ui.text(28, 27, "Plantbook", "lato bold", 21, BLUE, "lm")
    ui.text(852, 27, "Maren Holt", "lato", 15, INK, "rm")
    ui.text(40, 86, "Equipment  /  New device", "lato", 14, SOFT, "lm")
    ui.box(40, 106, 800, 486, (255, 255, 255), LINE, 6)
    ui.text(64, 136, "New device", "lato bold", 20, INK, "lm")
    ui.line((40, 160), (840, 160), ink=LINE)

    def label(y: float, words: str, needed: bool = False) -> None:
        ui.text(196, y, words, "lato", 15, (96, 98, 102), "rm")
        if needed:
            ui.text(190 - 7.2 * len(words), y + 1, "*", "lato", 15, (245, 108, 108), "rm")

    def entry(y: float, words: str, wide: float = 320, told: bool = True) -> None:
        ui.box(212, y - 17, wide, 34, (255, 255, 255), LINE, 4)
        ui.text(224, y, words, "lato", 15, INK if told else (168, 171, 178), "lm")

    label(192, "Device ID", True)
    entry(192, "SB-0417")
    label(242, "Name", True)
    entry(242, "Please enter a name", told=False)
    label(292, "Type")
    entry(292, "Pump")
    ui.line((510, 289), (516, 296), (522, 289), ink=SOFT, pen=1.6)
    label(342, "Installed on")
    entry(342, "2025-03-14", 220)
    ui.box(408, 334, 14, 14, None, SOFT, 2, 1.3)
    label(392, "Status")
    for n, words in enumerate(("In service", "Stand-by", "Retired")):
        ui.disc(220 + 112 * n, 392, 7.5, (255, 255, 255), BLUE if n == 0 else LINE, 1.4)
        if n == 0:
            ui.disc(220, 392, 4, BLUE)
        ui.text(234 + 112 * n, 392, words, "lato", 15, BLUE if n == 0 else INK, "lm")
    label(438, "Critical")
    ui.box(212, 428, 40, 20, BLUE, None, 10)
    ui.disc(242, 438, 8, (255, 255, 255))
    label(496, "Remarks")
    ui.box(212, 466, 560, 60, (255, 255, 255), LINE, 4)
    ui.text(224, 482, "Vibration measured every Monday", "lato", 15, INK, "lm")
    ui.box(212, 544, 84, 34, BLUE, None, 4)
    ui.text(254, 561, "Save", "lato bold", 15, (255, 255, 255))
    ui.box(308, 544, 84, 34, (255, 255, 255), LINE, 4)
    ui.text(350, 561, "Cancel", "lato", 15, INK)
    ui.done().quantize(64, dither=Image.Dither.NONE).save(path, "PNG", optimize=True)
