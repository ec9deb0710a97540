"""Lists of rows: the lines of an invoice, the goods of a delivery note, the items of an inspection or a receipt.

Below a line of headings each piece of text is assigned to a column. Receipts without headings are read by
receipt_items.py. Rows without any value are left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from models.ocr.candidates.label_index import Index, concepts
from models.ocr.tables import cells, inline_list, receipt_items
from models.ocr.tables.cells import SURE, Cell, Piece
from models.ocr.tables.columns import Column, Header, Heading, columns, header, index, kind_of
from models.ocr.text.layout import PageLayout, Span, around
from pipeline.parsing import numbers
from pipeline.schema.fields import leaves

if TYPE_CHECKING:
    from pipeline.schema.fields import ListField

Row = dict[str, Cell]  # by the path inside the list: "amount"; "" in a plain list
GOODS = ("description", "quantity", "unit_price", "amount")
ENDS = ("total", "subtotal", "tax", "due", "cash", "change", "rounding", "tips", "net_of_commission")
CARRIED = (
    "Carried forward", "Brought forward", "Carry over", "Page total", "Übertrag", "Zwischensumme", "Report",
    "A reporter", "Suma y sigue", "Seitensumme", "承前页", "过次页", "本页小计", "本页合计",
)  # fmt: skip
END_SHARE = 0.55  # of a row's letters that say "total": a sum, not an article
ROW_GAP = 3.5  # line heights without print end a table
JOIN_GAP = 1.6  # line heights between the lines of one description


def rows(
    sheets: Sequence[tuple[int, PageLayout]], field: "ListField", name: str = "", stops: tuple[str, ...] = ()
) -> list[Row]:
    """The rows of a list field, in the order of the pages; [] where no table for it is found.

    `name` is the list's own. `stops` are labels of the job's other fields: a row that begins with one of them is no row
    of the table. The rows of a plain list have one cell, at the path "". At most
    `field.answer_items` rows: `extract` keeps `max_items` of them and says that the list was cut.
    """
    if field.item is not None:
        return inline_list.items(sheets, name, field) or _one_column(sheets, name, field, stops)
    asked = columns(dict(leaves(field.children)))
    return _read(sheets, asked, stops)[: field.answer_items]


def _one_column(
    sheets: Sequence[tuple[int, PageLayout]], name: str, field: "ListField", stops: tuple[str, ...]
) -> list[Row]:
    """A plain list that is a column of a table of goods, such as their prices."""
    kind = kind_of(name)
    item = field.item
    if kind not in GOODS or item is None:
        return []
    asked = tuple(
        column._replace(path=column.kind, field=item if column.kind == kind else None)
        if column.kind in GOODS
        else column
        for column in columns({})
    )
    found = [row[kind] for row in _read(sheets, asked, stops) if kind in row]
    return [{"": each} for each in found if item.coerce(each.value).value is not None][: field.answer_items]


def _read(sheets: Sequence[tuple[int, PageLayout]], asked: tuple[Column, ...], stops: tuple[str, ...]) -> list[Row]:
    found = _under_headings(sheets, asked, _stops(stops)) or receipt_items.rows(sheets, asked, ends())
    found = [row for row in found if row]
    named = {column.kind: column for column in asked if column.path}
    if "description" in named and "quantity" in named:
        found = cells.counted(found, named["description"].path, named["quantity"])
    return _summed(found, asked, sheets)


@lru_cache(maxsize=64)
def _stops(labels: tuple[str, ...]) -> Index:
    return Index([(label, label) for label in labels])


@lru_cache(maxsize=1)
def ends() -> Index:
    """The words that begin the sums below a table, and those that carry a sum over to the next page."""
    known = concepts()
    named = [(label, name) for name in ENDS if name in known for label in known[name].labels]
    return Index([(label, "carried") for label in CARRIED] + named)


def is_end(sheet: PageLayout, row: int) -> str:
    """The owner ("total", "carried", …) when a row is a sum and not an article, else ""."""
    spans = sheet.rows[row]
    letters = sum(char.isalpha() for span in spans for char in span.text)
    if not letters:
        return ""
    for span in spans[:2]:
        for hit in ends().hits(span.text):
            said = sum(char.isalpha() for char in span.text[hit.start : hit.end])
            owner = ends().owners[hit.label][0]
            plain = owner in ("carried", *receipt_items.SUMS) and not span.text[hit.end :].strip()[:1].isalpha()
            if hit.start <= 2 and hit.quality >= 0.8 and (said >= END_SHARE * letters or plain or owner == "carried"):
                return owner
    return ""


def _is_stop(sheet: PageLayout, row: int, stops: Index) -> bool:
    """Whether a row begins with a label of another field, alone or with a value behind it."""
    first = sheet.rows[row][0].text
    for hit in stops.hits(first):
        if hit.start <= 1 and hit.quality >= 0.9 and first[hit.end :].strip()[:1] in ("", ":", "："):
            return True
    return False


def _under_headings(sheets: Sequence[tuple[int, PageLayout]], asked: Sequence[Column], stops: Index) -> list[Row]:
    known = index(asked)
    found: list[Row] = []
    top: Header | None = None
    ended = False
    for page, sheet in sheets:
        here = header(sheet, asked, known)
        if top is not None and here is not None and not here.wanted & top.wanted:
            here = None
        if here is None and (top is None or ended):
            continue
        if here is not None and top is not None and ended and here.wanted != top.wanted:
            break  # another table
        top = here or replace(top, row=0) if top else here
        assert top is not None
        if here is not None:
            top = _priced(sheet, top, asked)
        body = _Body(page, sheet, top, strict=here is None)
        ended = body.read(stops)
        found += body.found
    return found


def _priced(sheet: PageLayout, top: Header, asked: Sequence[Column]) -> Header:
    """With an amount column where none is headed but most rows below end in a price right of all headings."""
    amount = next((column for column in asked if column.kind == "amount" and column.path), None)
    if amount is None or amount.path in top.wanted:
        return top
    edge = top.headings[-1].x1
    last = [sheet.rows[number][-1] for number in range(top.row, min(top.row + 12, len(sheet.rows)))]
    prices = [span for span in last if receipt_items.PRICE.fullmatch(span.text.strip()) and span.x0 > edge]
    if 2 * len(prices) < len(last):
        return top
    heading = Heading(amount, min(span.x0 for span in prices), max(span.x1 for span in prices))
    return Header((*top.headings, heading), top.row)


class _Body:
    """The rows of one page under headings. `strict`: the headings are of a page before: check the first row."""

    def __init__(self, page: int, sheet: PageLayout, top: Header, strict: bool) -> None:
        self.page, self.sheet, self.top, self.strict = page, sheet, top, strict
        self.asked = asked = [heading.column for heading in top.headings]
        self.numeric = any(column.numeric and column.path for column in asked)
        # what every row of goods ends in
        self.sums = next((column.path for column in asked if column.kind == "amount"), "")
        self.at = min(
            range(len(asked)),
            key=lambda i: (asked[i].kind != "description", asked[i].numeric, not asked[i].path, i),
        )
        self.main = asked[self.at]
        self.found: list[Row] = []
        self.loose: list[list[Piece]] = []  # lines of a description whose row is not known yet
        self.last: float | None = None  # bottom of the print that belongs to the table

    def read(self, stops: Index) -> bool:
        """Fills `found`; whether sums, another field or white paper ended the table."""
        for number in range(self.top.row, len(self.sheet.rows)):
            spans = self.sheet.rows[number]
            gap = min(span.y0 for span in spans) - self.last if self.last is not None else 0.0
            if self.found and gap > ROW_GAP * self.sheet.height:
                return True
            end = is_end(self.sheet, number)
            if end or _is_stop(self.sheet, number, stops):
                if end != "carried" and (self.found or (end and not self.strict)):
                    return True
                continue
            self._take(spans)
        if self.loose and self.found and len(self.loose) <= 3:
            _append(self.found[-1], self.loose, self.main, self.page)
        return False

    def _take(self, spans: Sequence[Span]) -> None:
        """One line of print: a row, a further line of a description, or nothing of the table."""
        placed = _placed(spans, self.top.headings, self.sheet.height)
        row = {
            column.path: each
            for i, column in enumerate(self.asked)
            if column.path and (each := cells.cell(placed.get(i, ()), column, self.page))
        }
        whole = self._is_whole(row, placed)
        if self._is_stray(row, placed, whole):
            return
        if whole:
            self._add(row)
        elif placed.get(self.at) and not any(self._is_value(i) for i in placed):
            y0 = min(span.y0 for span in spans)
            near = self.last is not None and y0 - self.last < JOIN_GAP * self.sheet.height
            self.loose = [*self.loose, placed[self.at]] if near else [placed[self.at]]
        self.last = max(span.y1 for span in spans)

    def _is_value(self, number: int) -> bool:
        return self.asked[number].numeric and self.asked[number].kind != "position"

    def _is_whole(self, row: Row, placed: Mapping[int, Sequence[Piece]]) -> bool:
        if self.numeric and self.sums:
            return self.sums in row
        if self.numeric:
            return any(column.numeric and column.path in row for column in self.asked)
        return len(placed) >= min(2, len(self.asked)) and bool(row)

    def _is_stray(self, row: Row, placed: Mapping[int, Sequence[Piece]], whole: bool) -> bool:
        """A number on its own is the page's, not an article's; without headings a first row fills two columns."""
        alone = whole and len(row) == 1 and len(self.top.wanted) > 1
        if alone and self.main.path and not placed.get(self.at) and not self.loose:
            return True
        first = self.strict and not self.found
        return first and not (whole and len(row) >= min(2, len(self.top.wanted)))

    def _add(self, row: Row) -> None:
        """Loose lines are the description of this row where it has none, else more of that of the row before."""
        if self.loose and self.main.path and self.main.path not in row:
            parts = [part for line in self.loose for part in line]
            if each := cells.cell(parts, self.main, self.page):
                row[self.main.path] = each
            self.loose = []
        elif self.loose and self.found:
            _append(self.found[-1], self.loose, self.main, self.page)
            self.loose = []
        self.found.append(_balanced(row, self.asked))


def _append(row: Row, lines: Sequence[Sequence[Piece]], main: Column, page: int) -> None:
    """More lines of a description that has begun."""
    before = row.get(main.path)
    if not main.path or before is None or main.cell != "text":
        return
    more = cells.cell([part for line in lines for part in line], main, page)
    if more is None or more.evidence.box is None or before.evidence.box is None:
        return
    text = f"{before.value} {more.value}"
    box = around([before.evidence.box, more.evidence.box])
    row[main.path] = Cell(text, replace(before.evidence, box=box, text=text), min(before.confidence, more.confidence))


def _balanced(row: Row, asked: Sequence[Column]) -> Row:
    by_kind = {column.kind: column for column in asked if column.path in row and column.path}
    fixed = cells.balance({kind: row[column.path] for kind, column in by_kind.items()}, by_kind)
    return {**row, **{by_kind[kind].path: each for kind, each in fixed.items()}}


def _placed(spans: Sequence[Span], headings: Sequence[Heading], height: float) -> dict[int, list[Piece]]:
    """The print of one row by the number of its column. What reaches over several headings is taken word by word."""
    placed: dict[int, list[Piece]] = {}
    for span in spans:
        words = cells.pieces(span)
        if not words:
            continue
        reach = [h for h in headings if min(h.x1, span.x1) - max(h.x0, span.x0) > 0.3 * (h.x1 - h.x0)]
        if len(words) > 1 and len(reach) > 1:
            for word in words:
                placed.setdefault(_column(word, headings, height), []).append(word)
        else:
            piece = cells.whole(span)
            placed.setdefault(_column(piece, headings, height), []).append(piece)
    return placed


def _column(piece: Piece, headings: Sequence[Heading], height: float) -> int:
    """The number of a piece's column: nearest end to end or middle to middle, and of a fitting type."""
    number = numbers.read(piece.text) is not None

    def cost(i: int) -> float:
        heading = headings[i]
        ends_apart = (
            abs(piece.x0 - heading.x0),
            abs(piece.x1 - heading.x1),
            abs(piece.x0 + piece.x1 - heading.x0 - heading.x1) / 2,
        )
        apart = min(ends_apart) / height
        if min(piece.x1, heading.x1) > max(piece.x0, heading.x0):
            apart = min(apart, 1.0) * 0.5
        if not heading.column.numeric and heading.column.cell != "date":
            # a text column reaches to the next heading
            right = headings[i + 1].x0 if i + 1 < len(headings) else float("inf")
            if heading.x0 - height <= piece.x0 and piece.x1 <= right + 0.5 * height:
                apart = min(apart, 0.6)
        if heading.column.numeric and not number:
            apart += 0.5 if numbers.find(piece.text) else 6.0
        return apart

    return min(range(len(headings)), key=cost)


def _summed(found: list[Row], asked: Sequence[Column], sheets: Sequence[tuple[int, PageLayout]]) -> list[Row]:
    """Amounts that add up to a sum printed on these pages are nearly certain."""
    amount = next((column.path for column in asked if column.kind == "amount" and column.path), None)
    values = [row[amount].number for row in found if amount in row] if amount else []
    numbers_only = [value for value in values if value is not None]
    if amount is None or len(numbers_only) < 2 or len(numbers_only) != len(found):
        return found
    total = sum(numbers_only, Decimal(0))
    if not any(
        abs(each.value - total) <= cells.ROUNDING
        for _, sheet in sheets for number in range(len(sheet.rows)) if is_end(sheet, number)
        for span in sheet.rows[number] for each in numbers.find(span.text)
    ):  # fmt: skip
        return found
    return [{**row, amount: replace(row[amount], confidence=max(row[amount].confidence, SURE))} for row in found]
