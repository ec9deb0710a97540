"""How well the CPU engine reads tables of which it knows nothing: drawn pages, ruled and not, Latin and Chinese.

    python benchmarks/tables.py --count 60 [--show]

Prints, for each kind, how many tables have the right number of rows and columns, and which share of all cells is right
to the letter (blanks do not count). Every page has text around its table; cells may be empty or have two lines.
"""

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).parents[1]))

from models.ocr.tables.grid_table import grids
from models.ocr.text.layout import page_layout
from models.ocr.text.recognizer import reader
from models.ocr.text.ruled_lines import ruled_grids

FONT = "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc"
KINDS = ("ruled", "lines", "plain")
WORDS = {
    "latin": ("valve", "seal", "pump", "motor", "housing", "bearing", "filter", "gasket", "shaft", "cover", "bolt"),
    "chinese": ("阀门", "密封圈", "循环水泵", "电动机", "外壳", "轴承", "过滤器", "垫片", "端盖", "压力表", "开关"),
}
HEADS = {
    "latin": ("Pos", "Part", "Material", "Quantity", "Price", "Total", "Supplier", "Remark"),
    "chinese": ("序号", "名称", "材料", "数量", "单价", "金额", "供应商", "备注"),
}
PROSE = {
    "latin": "The parts below were checked in the workshop and are ready to be delivered this week.",
    "chinese": "以下零件已在车间检验合格,本周可以发货,请仓库人员核对数量后签字确认。",
}
Rows = list[list[str]]


def table(chance: random.Random, script: str, wrapped: bool) -> Rows:
    columns, count = chance.randint(3, 7), chance.randint(3, 12)
    kinds = [chance.choice(("word", "number", "money", "code")) for _ in range(columns)]
    kinds[0], kinds[1] = chance.choice(("position", "code")), "word"

    def cell(kind: str, row: int) -> str:
        if kind in ("number", "money") and chance.random() < 0.12:
            return ""
        words = WORDS[script]
        more = [chance.choice(words) for _ in range(4 if wrapped and chance.random() < 0.4 else 1)]
        return {
            "position": str(row),
            "word": ("" if script == "chinese" else " ").join(more),
            "number": str(chance.randint(1, 9999)),
            "money": f"{chance.randint(1, 99999)}.{chance.randint(0, 99):02}",
            "code": f"{chance.choice('ABKMX')}{chance.choice('ABKMX')}-{chance.randint(100, 9999)}",
        }[kind]

    heads = chance.sample(HEADS[script], columns)
    return [heads] + [[cell(kind, row) for kind in kinds] for row in range(1, count + 1)]


def drawn(rows: Rows, kind: str, script: str, chance: random.Random) -> Image.Image:
    """A page 1654 px wide, 200 dpi."""
    size = chance.choice((24, 28, 32))
    font = ImageFont.truetype(FONT, size, index=2)
    image = Image.new("RGB", (1654, 400 + len(rows) * size * 5), "white")
    pen = ImageDraw.Draw(image)
    pen.text((120, 90), PROSE[script], fill="black", font=font)
    y, left = 90 + 3 * size, 120
    limit = 9 * size
    cells = [[_wrapped(words, font, limit, script) for words in row] for row in rows]
    pad = round(size * chance.choice((0.35, 0.6)))
    side = round(size * (0.4 if kind == "ruled" else 0.9))
    widths = [
        round(max(font.getlength(line) for row in cells for line in row[column] or [""])) + 2 * side
        for column in range(len(rows[0]))
    ]
    edges = [left + sum(widths[:n]) for n in range(len(widths) + 1)]
    right_hand = [all(row[c].replace(".", "").isdigit() or not row[c] for row in rows[1:]) for c in range(len(widths))]
    top = y
    for number, row in enumerate(cells):
        high = max(len(lines) for lines in row) * round(size * 1.3) + 2 * pad
        if kind != "plain" and (kind == "ruled" or number < 2):
            pen.line((edges[0], y, edges[-1], y), fill="black", width=2)
        for column, lines in enumerate(row):
            drop = (high - 2 * pad - len(lines) * round(size * 1.3)) // 2 if kind == "ruled" else 0
            for n, line in enumerate(lines):
                x = edges[column] + side
                if right_hand[column]:
                    x = edges[column + 1] - side - font.getlength(line)
                pen.text((x, y + pad + drop + n * round(size * 1.3)), line, fill="black", font=font)
        y += high
    if kind != "plain":
        pen.line((edges[0], y, edges[-1], y), fill="black", width=2)
    for x in edges if kind == "ruled" else ():
        pen.line((x, top, x, y), fill="black", width=2)
    pen.text((120, y + 2 * size), PROSE[script], fill="black", font=font)
    return image.crop((0, 0, 1654, min(image.height, y + 6 * size)))


def _wrapped(words: str, font: ImageFont.FreeTypeFont, limit: float, script: str) -> list[str]:
    lines = [""]
    for part in list(words) if script == "chinese" else words.split(" "):
        glue = "" if script == "chinese" or not lines[-1] else " "
        if lines[-1] and font.getlength(lines[-1] + glue + part) > limit:
            lines.append(part)
        else:
            lines[-1] += glue + part
    return lines


def right(rows: Rows, found: Sequence[Sequence[str]]) -> tuple[bool, int]:
    """Whether the shape is right, and how many cells are."""
    plain = [[cell.replace(" ", "") for cell in row] for row in found]
    wanted = [[cell.replace(" ", "") for cell in row] for row in rows]
    shape = [len(row) for row in plain] == [len(row) for row in wanted]
    if shape:
        return True, sum(a == b for one, two in zip(plain, wanted, strict=True) for a, b in zip(one, two, strict=True))
    return False, sum(sum(a == b for a, b in zip(row, other, strict=False)) for row, other in _paired(wanted, plain))


def _paired(wanted: Rows, found: Rows) -> list[tuple[list[str], list[str]]]:
    """Rows with the row that shares most of their cells in the same places."""
    pairs = []
    for row in wanted:
        best = max(found, key=lambda other: sum(a == b for a, b in zip(row, other, strict=False)), default=[])
        pairs.append((row, best))
    return pairs


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--count", type=int, default=60)
    options.add_argument("--show", action="store_true", help="print the tables of wrong shape")
    given = options.parse_args()
    told: dict[tuple[str, str, str], list[tuple[bool, int, int]]] = {}
    for number in range(given.count):
        chance = random.Random(number)
        kind, script = KINDS[number % 3], ("latin", "chinese")[number // 3 % 2]
        wrapped = number // 6 % 2 == 1
        rows = table(chance, script, wrapped)
        image = drawn(rows, kind, script, chance)
        pixels = np.asarray(image)
        found = grids(page_layout(reader().read(pixels), *image.size, meshes=ruled_grids(pixels)))
        best = max(found, key=lambda grid: len(grid.rows), default=None)
        texts = [[cell.text for cell in row] for row in best.rows] if best else []
        shape, cells = right(rows, texts)
        shape = shape and len(found) == 1
        told.setdefault((kind, script, "two lines" if wrapped else "one line"), []).append(
            (shape, cells, len(rows) * len(rows[0]))
        )
        if given.show and not shape:
            print(number, kind, script, "wrapped" if wrapped else "", len(found), "found")
            for row in texts:
                print("   ", row)
    for key in sorted(told):
        print(f"{' '.join(key):28} shape {_share([each[0] for each in told[key]])}  cells {_cells(told[key])}")
    every = [score for scores in told.values() for score in scores]
    print(f"{'all':28} shape {_share([each[0] for each in every])}  cells {_cells(every)}")


def _share(hits: Sequence[bool]) -> str:
    return f"{sum(hits)}/{len(hits)}"


def _cells(scores: Sequence[tuple[bool, int, int]]) -> str:
    return f"{100 * sum(each[1] for each in scores) / sum(each[2] for each in scores):.1f}%"


if __name__ == "__main__":
    main()
