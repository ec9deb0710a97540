"""Read one cell of a table: its possible values, and which of them fits the arithmetic of the row."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, NamedTuple

from models.ocr.tables.columns import Column
from models.ocr.text.layout import Span, around
from pipeline.core.geometry import Box
from pipeline.core.types import Evidence
from pipeline.parsing import numbers
from pipeline.schema.fields.number import Numeric

ROUNDING = Decimal("0.02")  # quantity x price may miss the amount by this much, or by half a percent of a small price
COUNT_FIRST = re.compile(r"^\(?(\d{1,3}(?:[.,]\d{1,3})?)\s?(?:[xX×*@](?=\s|\d)|pcs?\b|ea\b)?\)?\s+(?=[^\W\d])")
SURE, BORNE_OUT, PLAIN, DOUBTFUL = 0.97, 0.93, 0.78, 0.45  # see docs/accuracy.md: how often such cells are right


class Piece(NamedTuple):
    """A run of print in a cell: part of a span, with its left and right end in deskewed pixels."""

    text: str
    box: Box
    x0: float
    x1: float
    y0: float
    y1: float
    score: float


@dataclass(frozen=True, slots=True)
class Cell:
    """`value` as JSON says it (text, or a number as text); `number` its value where it is one."""

    value: Any
    evidence: Evidence
    confidence: float
    number: Decimal | None = None


def whole(span: Span) -> Piece:
    """A span as one piece."""
    return Piece(span.text, span.box, span.x0, span.x1, span.y0, span.y1, span.score)


def pieces(span: Span) -> list[Piece]:
    """The words of a span with their places."""
    found, at = [], 0
    for word in span.text.split():
        start = span.text.index(word, at)
        at = start + len(word)
        box = span.part(start, at)
        x0 = span.x0 + (box.x - span.box.x)
        found.append(Piece(word, box, x0, x0 + box.width, span.y0, span.y1, span.score))
    return found


def join(parts: Sequence[Piece]) -> str:
    """The text of a cell; Chinese runs together."""
    text = ""
    for part in parts:
        glued = text and text[-1] >= "⺀" and part.text[0] >= "⺀"
        text += part.text if glued or not text else f" {part.text}"
    return text


def readings(text: str, column: Column) -> list[Decimal]:
    """The numbers that a cell may mean, the likeliest first: as printed, thousands or decimals, a lost decimal sign."""
    found: list[Decimal] = []
    whole = numbers.read(text, column.decimal)
    if whole is not None:
        found.append(whole)
    else:
        found += [each.value for each in numbers.find(text, column.decimal)]
    if column.decimal is None and whole is not None:
        for mark in ",.":
            other = numbers.read(text, mark)
            if other is not None:
                found.append(other)
    digits = [char for char in text if char.isdigit()]
    if column.cell == "money" and len(digits) >= 3 and found and found[0] == found[0].to_integral_value():
        found.append(found[0] / 100)
    return list(dict.fromkeys(found))


def cell(parts: Sequence[Piece], column: Column, page: int) -> Cell | None:
    """The cell as printed, None where it does not read as its column's type."""
    if not parts:
        return None
    text = join(parts)
    score = min(part.score for part in parts)
    evidence = Evidence(page, around([part.box for part in parts]), text)
    sure = PLAIN * trust(score)
    if column.cell == "measure":  # the unit counts: the field tells what does not read, and keeps the print
        alone = column.unit and numbers.read(text, column.decimal) is not None
        value = f"{text} {column.unit}" if alone else text
        return Cell(value, evidence, sure) if any(char.isdigit() for char in text) else None
    if column.numeric:
        found = readings(text, column)
        return Cell(spelled(found[0], column, text), evidence, sure, found[0]) if found else None
    if column.field is not None and column.cell not in ("text", "verbatim"):
        coerced = column.field.coerce(text)
        return None if coerced.value is None else Cell(text, evidence, sure)
    return Cell(text, evidence, sure)


def trust(score: float) -> float:
    """What a reader's score is worth: lines of which it is less than sure hold a wrong letter more often than not."""
    return max(0.0, 2 * score - 1)


def spelled(value: Decimal, column: Column, printed: str = "") -> str:
    """A number as the column's field reads it; `printed`, where that has two readings and nothing bears one out."""
    return column.field.spelled(value, printed) if isinstance(column.field, Numeric) else format(value, "f")


def balance(row: Mapping[str, Cell], columns: Mapping[str, Column]) -> dict[str, Cell]:
    """The row with the readings for which quantity x unit price = amount, surer than before; doubted where none fit.

    `row` is by kind of column. Rows without all three stay as they are.
    """
    kinds = ("quantity", "unit_price", "amount")
    if any(kind not in row or row[kind].number is None for kind in kinds):
        return dict(row)
    ways = [readings(row[kind].evidence.text, columns[kind]) for kind in kinds]
    for count, price, amount in itertools.product(*ways):
        if fits(count * price, amount, count):
            fixed = dict(row)
            for kind, value in zip(kinds, (count, price, amount), strict=True):
                sure = max(row[kind].confidence, BORNE_OUT)
                fixed[kind] = replace(row[kind], number=value, value=spelled(value, columns[kind]), confidence=sure)
            return fixed
    doubted = dict(row)
    for kind in kinds:
        doubted[kind] = replace(row[kind], confidence=min(row[kind].confidence, DOUBTFUL + 0.1))
    return doubted


def fits(product: Decimal, amount: Decimal, count: Decimal = Decimal(1)) -> bool:
    """Equal up to rounding: of the amount, and of a price that is printed with two decimals."""
    return abs(product - amount) <= max(ROUNDING, abs(count) * Decimal("0.005"))


def counted(rows: list[dict[str, Cell]], words: str, counts: Column) -> list[dict[str, Cell]]:
    """Quantities taken from the head of the words, "2 Flat white", where most rows have theirs there."""
    count = counts.path
    heads = [COUNT_FIRST.match(str(row[words].value)) if words in row and count not in row else None for row in rows]
    if 2 * sum(head is not None for head in heads) < len(rows):
        return rows
    split = []
    for row, head in zip(rows, heads, strict=True):
        number = numbers.read(head[1], counts.decimal) if head else None
        box = row[words].evidence.box if head else None
        if head is None or number is None or box is None:
            split.append(row)
            continue
        item = row[words]
        rest = head.string[head.end() :]
        cut = box.width * head.end() / len(head.string)
        left = Evidence(item.evidence.page, replace(box, width=cut), head[1])
        right = Evidence(item.evidence.page, replace(box, x=box.x + cut, width=box.width - cut), rest)
        taken = Cell(spelled(number, counts, head[1]), left, item.confidence, number)
        split.append({**row, words: replace(item, value=rest, evidence=right), count: taken})
    return split
