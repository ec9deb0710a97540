"""Tables and receipts made by hand as lines with places, and real ones where the labelled sets are present."""

import itertools
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.ocr.tables import header_table
from models.ocr.tables.header_table import Row
from models.ocr.text import layout
from models.ocr.text.lines import Line
from pipeline.core.geometry import Box
from pipeline.schema.fields import ListField
from pipeline.schema.job import parse_job

INVOICE = """
name: invoice
fields:
  lines:
    type: list
    fields:
      description: {type: text}
      quantity: {type: number}
      unit_price: {type: money, decimals: 4}
      amount: {type: money}
"""
RECEIPT = """
name: receipt
fields:
  lines: {type: list, fields: {description: {type: text}, quantity: {type: number}, amount: {type: money}}}
"""
CHAR = 10.0  # width of a letter in pixels
ROW = 30.0


def field(text: str, name: str = "lines") -> ListField:
    found = parse_job(text.encode()).fields[name]
    assert isinstance(found, ListField)
    return found


def sheet(*rows: str, score: float = 0.99) -> layout.PageLayout:
    """A page drawn in letters: what stands two blanks apart is a line of its own, at its place."""
    lines = []
    for number, row in enumerate(rows):
        at = 0
        for text in [part for part in row.split("  ") if part.strip()]:
            text = text.strip()
            start = row.index(text, at)
            at = start + len(text)
            width = CHAR * sum(2 if char >= "⺀" else 1 for char in text)
            lines.append(Line(text, Box(start * CHAR, number * ROW, width, 20.0), score))
    return layout.page_layout(lines, 1000, 40 * ROW)


def told(rows: Sequence[Row], *paths: str) -> list[tuple[object, ...]]:
    return [tuple(row[path].value if path in row else None for path in paths) for row in rows]


ALL = ("description", "quantity", "unit_price", "amount")

ENGLISH = (
    "Pos  Description                  Qty    Unit price      Amount",
    "1    Bourdon gauge 100 mm          12         38.40      460.80",
    "2    Diaphragm seal, steel,         6        112.00      672.00",
    "     with certificate",
    "3    Isolating valve               20          9.85      197.00",
    "                               Net total               1,329.80",
    "                               VAT 20%                   265.96",
)


def test_rows_under_headings_with_descriptions_of_several_lines() -> None:
    rows = header_table.rows([(1, sheet(*ENGLISH))], field(INVOICE), "lines")
    assert told(rows, *ALL) == [
        ("Bourdon gauge 100 mm", "12", "38.40", "460.80"),
        ("Diaphragm seal, steel, with certificate", "6", "112.00", "672.00"),
        ("Isolating valve", "20", "9.85", "197.00"),
    ]


def test_every_value_has_its_place_its_print_and_a_confidence() -> None:
    first = header_table.rows([(4, sheet(*ENGLISH))], field(INVOICE), "lines")[0]
    assert first["amount"].evidence.page == 4
    assert first["amount"].evidence.text == "460.80"
    box = first["amount"].evidence.box
    assert box is not None
    assert (box.x, box.y) == (ENGLISH[1].index("460.80") * CHAR, ROW)
    assert all(0.5 < cell.confidence <= 1 for cell in first.values())


def test_arithmetic_raises_and_lowers_confidence() -> None:
    sure = header_table.rows([(1, sheet(*ENGLISH))], field(INVOICE), "lines")
    wrong = [row.replace("9.85      197.00", "9.85      191.00") for row in ENGLISH]
    unsure = header_table.rows([(1, sheet(*wrong))], field(INVOICE), "lines")
    assert sure[2]["quantity"].confidence > 0.9
    assert unsure[2]["quantity"].confidence < 0.6
    assert sure[0]["amount"].confidence > unsure[0]["amount"].confidence  # the sum below bears it out, or does not


@pytest.mark.parametrize(
    ("quantity", "price", "amount", "wanted"),
    [
        ("2", "1.234", "2.468", ("2", "1234", "2468")),
        ("12,5", "78,00", "975,00", ("12.5", "78.00", "975.00")),
        ("3", "4,50", "1350", ("3", "4.50", "13.5")),  # a decimal sign that the OCR lost
        ("2", "1.016,40", "2.032,80", ("2", "1016.40", "2032.80")),
    ],
)
def test_of_two_readings_the_one_that_adds_up_is_taken(
    quantity: str, price: str, amount: str, wanted: tuple[str, str, str]
) -> None:
    page = sheet(
        "Bezeichnung                  Menge    Einzelpreis      Betrag",
        f"Schaftfräser               {quantity:>7}    {price:>11}  {amount:>10}",
    )
    (row,) = header_table.rows([(1, page)], field(INVOICE), "lines")
    assert tuple(Decimal(str(row[path].value)) for path in ALL[1:]) == tuple(map(Decimal, wanted))
    assert row["amount"].confidence > 0.9


def test_a_german_table_goes_on_on_the_next_page_and_carried_sums_are_no_rows() -> None:
    head = "Pos.  Bezeichnung              Menge    Einzelpreis      Betrag"
    one = sheet(head, "1     Gewindebohrer M6            12          14,95      179,40",
                      "                                          Übertrag      179,40")  # fmt: skip
    two = sheet(head, "Übertrag von Seite 1                                   179,40",
                      "2     Putztücher, Karton           6          28,80      172,80",
                      "                                       Nettobetrag      352,20")  # fmt: skip
    rows = header_table.rows([(1, one), (2, two)], field(INVOICE), "lines")
    assert told(rows, "description", "amount") == [("Gewindebohrer M6", "179.40"), ("Putztücher, Karton", "172.80")]
    assert [row["amount"].evidence.page for row in rows] == [1, 2]
    assert all(row["amount"].confidence >= 0.95 for row in rows)


def test_a_table_goes_on_without_headings_and_page_numbers_are_no_rows() -> None:
    rest = sheet(
        "4    Cable gland M20               40          1.20       48.00",
        "5    Junction box                   5         27.30      136.50",
        "                                                             2",
    )
    rows = header_table.rows([(1, sheet(*ENGLISH[:5])), (2, rest)], field(INVOICE), "lines")
    assert [row["description"].value for row in rows[3:]] == ["Cable gland M20", "Junction box"]
    assert len(rows) == 5


def test_chinese_headings() -> None:
    page = sheet(
        "序号  品名及规格            数量      单价        金额",
        "1     不锈钢压力表          24      86.00     2,064.00",
        "2     三通阀组               8     318.00     2,544.00",
        "      合计                                    4,608.00",
    )
    rows = header_table.rows([(1, page)], field(INVOICE), "lines")
    assert told(rows, *ALL) == [("不锈钢压力表", "24", "86.00", "2064.00"), ("三通阀组", "8", "318.00", "2544.00")]


INSPECTION = """
name: inspection
fields:
  items:
    type: list
    fields:
      item: {type: text, labels: [检查项]}
      result: {type: choice, labels: [结果], options: {normal: [正常], abnormal: [异常]}}
      note: {type: text, labels: [备注]}
  faults: {type: list, labels: [异常项], item: {type: text}}
  end: {type: text, labels: [结论]}
"""
FORM = (
    "序号    检查项        标准          结果        备注",
    "1       外观清洁      无油污        正常",
    "2       振动值        ≤4.5mm/s      异常        6.2mm/s",
    "异常项    振动值、机械密封",
    "结论      限期整改",
)


def test_a_form_without_numbers_ends_at_the_next_label() -> None:
    rows = header_table.rows([(1, sheet(*FORM))], field(INSPECTION, "items"), "items", ("异常项", "结论"))
    assert told(rows, "item", "result", "note") == [("外观清洁", "正常", None), ("振动值", "异常", "6.2mm/s")]


def test_a_plain_list_is_split_behind_its_label() -> None:
    faults = field(INSPECTION, "faults")
    assert told(header_table.rows([(1, sheet(*FORM))], faults, "faults"), "") == [("振动值",), ("机械密封",)]
    assert header_table.rows([(1, sheet("异常项    无"))], faults, "faults") == []


TILL = (
    "CORNER SHOP",
    "12/05/2025 14:22",
    "2 Flat white          7.20",
    "Pot of Assam          3.20",
    "CARROT CAKE",
    "2 x 4.25              8.50",
    "SUBTOTAL             18.90",
    "VAT 20%               3.15",
    "TOTAL                18.90",
    "CASH                 20.00",
)


def test_a_receipt_without_headings() -> None:
    rows = header_table.rows([(1, sheet(*TILL))], field(RECEIPT), "lines")
    assert told(rows, "description", "quantity", "amount") == [
        ("Flat white", "2", "7.20"),
        ("Pot of Assam", None, "3.20"),
        ("CARROT CAKE", "2", "8.50"),
    ]
    assert all(row["amount"].confidence > 0.95 for row in rows)  # they add up


@pytest.mark.parametrize(
    ("said", "quantity"), [("1.000 x 5.30", "1.0000"), ("2.5 x 2.12", "2.5"), ("1.000 x 5.10", "1.000")]
)
def test_a_weight_on_a_receipt_is_borne_out_by_the_price_or_stays_as_printed(said: str, quantity: str) -> None:
    page = sheet(
        "APPLES RED GALA", f"{said}               5.30", "CARROTS                3.00", "TOTAL                 8.30"
    )
    rows = header_table.rows([(1, page)], field(RECEIPT), "lines")
    assert told(rows, "quantity", "amount")[0] == (quantity, "5.30")


def test_prices_that_slipped_to_other_rows_are_paired_by_the_sum() -> None:
    slipped = sheet(
        "                      7.20",
        "2 Flat white          3.20",
        "1 Pot of Assam        9.75",
        "1 Eggs",
        "Subtotal             20.15",
    )
    rows = header_table.rows([(1, slipped)], field(RECEIPT), "lines")
    assert told(rows, "description", "amount") == [("Flat white", "7.20"), ("Pot of Assam", "3.20"), ("Eggs", "9.75")]


def test_where_there_is_no_table_nothing_is_made_up() -> None:
    letter = sheet("Dear Ms Miller,", "we met on 12.05.2025 and paid 12.50 for lunch.", "Yours, T. Smith")
    for job in (INVOICE, RECEIPT):
        assert header_table.rows([(1, letter)], field(job), "lines") == []
    assert header_table.rows([(1, sheet())], field(INVOICE), "lines") == []
    assert header_table.rows([], field(INVOICE), "lines") == []


def test_one_row_more_than_the_field_allows_shows_that_the_table_was_cut() -> None:
    short = field(INVOICE.replace("type: list", "type: list\n    max_items: 2"))
    assert len(header_table.rows([(1, sheet(*ENGLISH))], short, "lines")) == 3


def test_rows_may_stand_in_any_order_of_columns() -> None:
    cells = {"Description": "Cable gland", "Qty": "40", "Unit price": "1.20", "Amount": "48.00"}
    for order in itertools.permutations(cells):
        page = sheet("".join(f"{name:<18}" for name in order), "".join(f"{cells[name]:<18}" for name in order))
        (row,) = header_table.rows([(1, page)], field(INVOICE), "lines")
        assert tuple(row[path].value for path in ALL) == tuple(cells.values()), order


def test_a_real_supermarket_receipt_is_read_to_the_last_row(shared: Path) -> None:
    from models.ocr.text.recognizer import reader

    name = "Image_80_7_5bab50153bf3d3329d90a6824b4c5bdc070e802f.jpeg"
    image = np.asarray(Image.open(shared / "wildreceipt" / "img" / name).convert("RGB"))
    page = layout.page_layout(reader().read(image), image.shape[1], image.shape[0])
    rows = header_table.rows([(1, page)], field(RECEIPT), "lines")
    assert len(rows) == 27
    assert sum(row["amount"].number or 0 for row in rows) == Decimal("278.88")  # the total that is printed below
    assert all(row["amount"].confidence > 0.9 for row in rows)
