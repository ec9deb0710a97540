"""One sample: what is written, what is true, and what a reader of samples/README.md should know."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from printed import Printed, Tree, amount, count, text
from sheet import BLACK, Align, Ink, Sheet


@dataclass(frozen=True)
class Sample:
    """`file`: below samples/. `fields` follow the job's fields; None is "not on the paper".

    `mentions`: what any right description, translation or code must say, where more than one answer is right.
    `question`: written to a text beside the picture.
    """

    file: str
    job: str
    what: str
    hard: str
    sheets: tuple[Sheet, ...]
    fields: Mapping[str, Tree]
    expected: Literal["ok", "failed", "blank"] = "ok"
    mentions: tuple[str, ...] = ()
    question: str = ""


@dataclass(frozen=True)
class Column:
    title: str
    x: float
    align: Align = "left"


def rows(
    sheet: Sheet,
    y: float,
    columns: Sequence[Column],
    lines: Sequence[Sequence[Printed | str | None]],
    font: str = "sans",
    size: float = 9.0,
    pitch: float = 18.0,
    hand: str = "",
    ink: Ink = BLACK,
) -> float:
    """Write rows of cells; a cell of two rows makes its line higher. The y below the last line is returned."""
    for line in lines:
        high = 1
        for column, cell in zip(columns, line, strict=True):
            if cell is None:
                continue
            words = cell if isinstance(cell, str) else cell.words
            high = max(high, words.count("\n") + 1)
            if hand:
                sheet.hand(column.x, y, words, hand, size, align=column.align)
            else:
                sheet.text(column.x, y, words, font, size, column.align, ink)
        y += pitch + (high - 1) * size * 1.3
    return y


def heads(
    sheet: Sheet, y: float, columns: Sequence[Column], font: str = "sans bold", size: float = 8.5, ink: Ink = BLACK
) -> None:
    for column in columns:
        sheet.text(column.x, y, column.title, font, size, column.align, ink)


def listed(rows: str) -> list[list[str]]:
    """Rows of a small table in text: a line a row, " | " between cells, " // " where a cell goes on in the next row."""
    return [
        [cell.strip().replace(" // ", "\n") for cell in line.split(" |")]
        for line in rows.strip().split("\n")
        if line.strip()
    ]


def priced(
    items: str, style: str = "1,234.56", point: str = ".", joint: str = " "
) -> tuple[list[dict[str, Printed]], Decimal]:
    """Lines of an invoice from rows of description | quantity | unit price, each with its amount; and their sum."""
    lines, total = [], Decimal(0)
    for description, quantity, price in listed(items):
        cost = (Decimal(quantity) * Decimal(price)).quantize(Decimal("0.01"))
        total += cost
        lines.append(
            {
                "description": text(description, joint),
                "quantity": count(quantity, point),
                "unit_price": amount(price, style),
                "amount": amount(cost, style),
            }
        )
    return lines, total


def cells(lines: Sequence[Mapping[str, Printed]], *names: str) -> list[list[Printed]]:
    return [[line[name] for name in names] for line in lines]
