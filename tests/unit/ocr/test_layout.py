"""Lines become rows, phrases and columns; a tilt is evened out and boxes stay where they are."""

import math
from dataclasses import replace

import pytest

from models.ocr.text import layout
from pipeline.core.geometry import Box
from tests.support.lettered import lines, sheet

TABLE = """
Item name      Qty     Amount
Nails           3       15.00
Paint           1       45.00
Brush           2       9.00
Total                   69.00
"""


def test_rows_left_to_right_and_top_to_bottom() -> None:
    assert [[span.text for span in row] for row in sheet(TABLE).rows][:2] == [
        ["Item name", "Qty", "Amount"],
        ["Nails", "3", "15.00"],
    ]


@pytest.mark.parametrize("degrees", [-4.0, -2.0, 2.0, 4.0])
def test_a_tilted_page_has_the_same_rows(degrees: float) -> None:
    turn = math.radians(degrees)
    tilted = []
    for line in lines(TABLE):
        box = line.box
        corners = [(x, y) for x in (box.x, box.right) for y in (box.y, box.bottom)]
        turned = [
            (x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)) for x, y in corners
        ]
        tilted.append(replace(line, box=Box.around(turned)))
    told = layout.page_layout(tilted, 1000, 1400)
    assert [[span.text for span in row] for row in told.rows] == [
        [span.text for span in row] for row in sheet(TABLE).rows
    ]
    assert [span.box for span in told.segments if span.text == "69.00"] == [
        line.box for line in tilted if line.text == "69.00"
    ]


def test_a_block_goes_on_below() -> None:
    page = sheet("Aurora Ltd         Invoice\n5 Main Street      No 17\n12345 Town")
    first = next(phrase for phrase in page.phrases if phrase.text == "Aurora Ltd")
    second = page.down[first.index]
    assert second is not None
    assert page.phrases[second].text == "5 Main Street"
    assert page.up[second] == first.index


def test_what_stands_over_and_under() -> None:
    page = sheet(TABLE)
    amount = next(span for span in page.segments if span.text == "9.00")
    assert [span.text for span in page.above(amount)] == ["45.00", "15.00", "Amount"]
    assert [span.text for span in page.below(amount)] == ["69.00"]


def test_the_box_of_a_part_follows_the_widths_of_its_letters() -> None:
    span = sheet("合计 12").segments[0]
    assert span.part(0, 2) == Box(50, 50, pytest.approx(40 * 70 / 70), 20)
    assert span.part(3, 5).right == span.box.right


def test_unsure_and_blank_lines_are_left_out() -> None:
    unsure = [replace(line, score=0.2) for line in lines("Total")]
    assert layout.page_layout(unsure, 100, 100).segments == []
    assert layout.page_layout([], 100, 100).rows == []


@pytest.mark.parametrize(
    ("text", "mended"),
    [("BookstaIl", "Bookstall"), ("G0LDEN", "GOLDEN"), ("A1203", "A1203"), ("I0", "I0"), ("12 IN", "12 IN")],
)
def test_mend(text: str, mended: str) -> None:
    assert layout.mend(text) == mended
    assert len(layout.mend(text)) == len(text)
