"""Receipts without headings: articles on the left, prices at the right edge, above the first sum."""

import itertools
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

from models.ocr.candidates.label_index import Index
from models.ocr.tables import cells
from models.ocr.tables.cells import Cell, Piece
from models.ocr.tables.columns import Column
from models.ocr.text.layout import PageLayout, Span, around
from pipeline.core.types import Evidence
from pipeline.parsing import Found, dates, numbers, times

SUMS = ("total", "subtotal", "due")
PRICE = re.compile(r"(?<![\d.,/])-?(?:[$€£¥]|RM|S\$)?\s?-?\d{1,6}[.,]\s?\d{2}(?!\d)\s?(?:[A-Z*#]{1,2}|EUR|€|-)?$")
TIMES = re.compile(
    r"(\d{1,4}(?:[.,]\d{1,3})?)\s?(?:kg|lb|pcs?|ea|Stk)?\s?[xX×@*]\s?(?:[$€£¥]|RM)?\s?(\d{1,6}[.,]\d{2})"
)
EDGE = 2.5  # line heights between a price and the usual right end of prices, at most
SURE, UNSURE = 0.72, 0.6

_Count = tuple[Decimal, list[Piece], str]  # the number, its words, and how it is printed where it is unconfirmed


def rows(sheets: Sequence[tuple[int, PageLayout]], asked: Sequence[Column], ends: Index) -> list[dict[str, Cell]]:
    """The articles of a receipt; [] where no sum is below prices, or no amount is asked for."""
    wanted = {column.kind: column for column in asked if column.path}
    if "amount" not in wanted:
        return []
    found: list[dict[str, Cell]] = []
    for page, sheet in sheets:
        found += _page(page, sheet, wanted, ends)
    return found


def _page(page: int, sheet: PageLayout, wanted: dict[str, Column], ends: Index) -> list[dict[str, Cell]]:
    last = _first_sum(sheet, ends)
    if last is None:
        return []
    priced = {row: span for row in range(last) if (span := _price(sheet, row)) is not None}
    edge = sorted(span.x1 for span in priced.values())[len(priced) // 2]
    priced = {row: span for row, span in priced.items() if abs(span.x1 - edge) < EDGE * sheet.height}
    if not priced:
        return []
    found: list[dict[str, Cell]] = []
    texts: list[list[Piece]] = []
    before: list[Piece] = []
    for row in range(max(0, min(priced) - 1), last):
        words = [word for span in sheet.rows[row] for word in cells.pieces(span)]
        ahead = words
        if row in priced:
            line = cells.join(words)
            match = PRICE.search(line)
            ahead = _split(words, match.start(), line)[1] if match else words
        text = cells.join(ahead)
        if _else(text) or _is_sum(text, ends):
            continue
        if sum(char.isalpha() for char in text) >= 2:
            texts.append(ahead)
        if row not in priced:
            before = words if any(char.isalpha() for char in text) else []
            continue
        article = _article(page, words, before, wanted)
        before = []
        if article:
            found.append(article)
    return _in_order(page, sheet, last, edge, texts, found, wanted)


def _in_order(
    page: int,
    sheet: PageLayout,
    last: int,
    edge: float,
    texts: list[list[Piece]],
    found: list[dict[str, Cell]],
    wanted: dict[str, Column],
) -> list[dict[str, Cell]]:
    """On a slanted picture prices slip to other rows: then the nth price is the nth article's, if they make the sum."""
    path = wanted["amount"].path
    below = [each.value for row in range(last, len(sheet.rows)) for span in sheet.rows[row] for each in _numbers(span)]
    if len(found) == len(texts) and sum((row[path].number or Decimal(0) for row in found), Decimal(0)) in below:
        return found
    prices = [
        row[-1]
        for row in sheet.rows[: last + 1]
        if PRICE.fullmatch(row[-1].text.strip()) and abs(row[-1].x1 - edge) < 3 * EDGE * sheet.height
    ]
    values = [read[-1].value if (read := _numbers(span)) else Decimal(0) for span in prices]
    for count in range(3, min(len(texts), len(prices)) + 1):
        total = sum(values[:count], Decimal(0))
        if total in below and all(value == total for value in values[count:]):
            pairs = zip(texts[-count:], prices[:count], strict=True)
            rows = [_article(page, [*text, *cells.pieces(price)], [], wanted) for text, price in pairs]
            return [row for row in rows if row]
    return found


def _numbers(span: Span) -> list[Found]:
    return numbers.find(span.text)


def _is_sum(text: str, ends: Index) -> bool:
    """Whether the words before a price are those of a sum or a tax and not of an article."""
    letters = sum(char.isalpha() for char in text)
    for hit in ends.hits(text):
        said = sum(char.isalpha() for char in text[hit.start : hit.end])
        last = hit.end >= len(text.rstrip(" :%.")) - 1
        if hit.quality >= 0.85 and (2 * said >= letters or (last and "tax" in ends.owners[hit.label])):
            return True
    return False


def _first_sum(sheet: PageLayout, ends: Index) -> int | None:
    """The row of the first sum below at least one price."""
    seen = False
    for row in range(len(sheet.rows)):
        text = sheet.row_text(row)
        words = PRICE.sub("", text).rstrip(" :")
        for hit in ends.hits(text)[:6]:
            at_an_end = hit.start <= 2 or hit.end >= len(words) - 1
            if at_an_end and hit.quality >= 0.8 and set(ends.owners[hit.label]) & set(SUMS) and seen:
                return row
        seen = seen or _price(sheet, row) is not None
    return None


def _price(sheet: PageLayout, row: int) -> Span | None:
    span = sheet.rows[row][-1]
    return span if PRICE.search(span.text.strip()) else None


def _else(text: str) -> bool:
    """A date or time is no article; but 4.25 is a price, though some countries print times so."""
    return bool(dates.find(text)) or any(":" in text[each.start : each.end] for each in times.find(text))


def _article(page: int, words: list[Piece], before: list[Piece], wanted: dict[str, Column]) -> dict[str, Cell]:
    """One priced row: its price last, perhaps a quantity first, the words between; else those of the row above."""
    line = cells.join(words)
    match = PRICE.search(line)
    if match is None:
        return {}
    price, rest = _split(words, match.start(), line)
    amount = numbers.find(match[0], wanted["amount"].decimal)
    if not amount:
        return {}
    score = min(word.score for word in price)
    sure = SURE * cells.trust(score)
    value = amount[-1].value
    told = cells.spelled(value, wanted["amount"])
    row = {wanted["amount"].path: _cell(price, page, sure, match[0].strip(), told, value)}
    product = TIMES.search(cells.join(rest)) or TIMES.search(cells.join(before))
    text = [word for word in rest if not numbers.read(word.text)] if product else rest
    count: _Count | None = None
    if product and (ways := _ways(product, wanted)):
        row, count = _multiplied(row, product, ways, [*rest, *before], page, wanted)
    elif rest and (first := cells.COUNT_FIRST.match(cells.join(rest))):
        head = numbers.read(first[1])
        if head is not None and head > 0:
            count = head, rest[:1], first[1]
            text = _split(rest, first.end(), cells.join(rest))[0]
    if count and "quantity" in wanted:
        told = cells.spelled(count[0], wanted["quantity"], count[2])
        row[wanted["quantity"].path] = _cell(count[1], page, sure, "", told, count[0])
    if "description" not in wanted:
        return row
    words_of = next((each for each in (text, before) if sum(char.isalpha() for char in cells.join(each)) >= 2), None)
    if words_of is None:
        return {}
    trust = cells.trust(min(word.score for word in words_of))
    return {**row, wanted["description"].path: _cell(words_of, page, UNSURE * trust)}


def _multiplied(
    row: dict[str, Cell],
    product: re.Match[str],
    ways: Sequence[tuple[Decimal, Decimal]],
    words: Sequence[Piece],
    page: int,
    wanted: Mapping[str, Column],
) -> tuple[dict[str, Cell], _Count | None]:
    """The row with the price of "2 x 5.30", and the count; surer where count times price is the amount."""
    value = row[wanted["amount"].path].number
    assert value is not None
    fitting = [way for way in ways if cells.fits(way[0] * way[1], value, way[0])]
    number, each = (fitting or ways)[0]
    where = [word for word in words if product[1] in word.text][:1]
    if not where:
        return row, None
    if fitting:
        row = {path: Cell(c.value, c.evidence, cells.BORNE_OUT, c.number) for path, c in row.items()}
    if "unit_price" in wanted:
        price_at = [word for word in words if product[2] in word.text][:1] or where
        told = cells.spelled(each, wanted["unit_price"])
        sure = cells.BORNE_OUT if fitting else UNSURE
        row[wanted["unit_price"].path] = _cell(price_at, page, sure, product[2], told, each)
    return row, (number, where, "" if fitting else product[1])


def _split(words: list[Piece], at: int, line: str) -> tuple[list[Piece], list[Piece]]:
    """The words from character `at` of their joined text on, and those before."""
    after: list[Piece] = []
    ahead: list[Piece] = []
    place = 0
    for word in words:
        start = line.index(word.text, place)
        place = start + len(word.text)
        (after if place > at else ahead).append(word)
    return after, ahead


def _ways(product: re.Match[str], wanted: Mapping[str, Column]) -> list[tuple[Decimal, Decimal]]:
    """What "1.000 x 5.30" may mean, as quantity and price: the likeliest first."""
    counts, prices = (
        cells.readings(product[1 + i], wanted.get(kind, Column("", kind, "number", None, ())))
        for i, kind in enumerate(("quantity", "unit_price"))
    )
    return list(itertools.product(counts, prices))


def _cell(
    parts: list[Piece], page: int, sure: float, printed: str = "", value: str = "", number: Decimal | None = None
) -> Cell:
    printed = printed or cells.join(parts)
    box = around([part.box for part in parts])
    return Cell(value or printed, Evidence(page, box, printed), round(sure, 4), number)
