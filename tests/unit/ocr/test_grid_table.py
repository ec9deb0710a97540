"""Tables of which nothing is known, and the text of pages in reading order: drawn in letters and as pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from models.ocr import page_text
from models.ocr.answer import answer
from models.ocr.tables.grid_table import grids
from models.ocr.text.layout import PageLayout
from models.ocr.text.layout import page_layout as laid_out
from models.ocr.text.lines import Line
from models.ocr.text.ruled_lines import ruled_grids
from pipeline.core.geometry import Box
from pipeline.schema.job import Job, load_jobs
from tests.support.lettered import ask, sheet

PARTS = """
The parts below are ready and were checked by the workshop

Pos  Part          Count    Price
1    Bolt M8          20     1.20
2    Gasket ring       4    12.50
3    Cover plate             3.00
4    Shaft             1   199.00

Please call before you come to fetch them
"""
TABLE = """\
| Pos | Part | Count | Price |
|---|---|---|---|
| 1 | Bolt M8 | 20 | 1.20 |
| 2 | Gasket ring | 4 | 12.50 |
| 3 | Cover plate |  | 3.00 |
| 4 | Shaft | 1 | 199.00 |"""


def texts(page: PageLayout) -> list[list[list[str]]]:
    return [[[cell.text for cell in row] for row in grid.rows] for grid in grids(page)]


def test_a_table_with_an_empty_cell_between_paragraphs() -> None:
    said = page_text.markdown([(1, sheet(PARTS))])
    first, table, last = said.text.split("\n\n")
    assert first == "The parts below are ready and were checked by the workshop"
    assert table == TABLE
    assert last == "Please call before you come to fetch them"
    assert page_text.markdown([(1, sheet(PARTS))], tables_only=True).text == TABLE


def test_the_job_for_any_table_gives_markdown_and_rows() -> None:
    (job,) = load_jobs(Path(__file__).parents[3] / "jobs", ["table"])
    told = answer([(1, sheet(PARTS))], job)
    data = json.loads(told.text)
    assert data["markdown"] == TABLE
    assert data["rows"][0] == "Pos | Part | Count | Price"
    assert data["rows"][3] == "3 | Cover plate |  | 3.00"
    assert len(data["rows"]) == 5
    evidence = told.evidence["rows[4]"]
    assert evidence.box is not None
    assert evidence.box.x == pytest.approx(50)
    assert evidence.box.right == pytest.approx(380)
    assert 0 < told.confidence["markdown"] < 1


def test_chinese_tables_and_a_mark_of_their_own_in_a_cell() -> None:
    page = """
序号  名称      数量  备注
1     循环水泵  2     正常
2     阀门      12    a|b
3     过滤器    4     正常
"""
    assert page_text.markdown([(1, sheet(page))]).text.split("\n")[-2:] == [
        "| 2 | 阀门 | 12 | a\\|b |",
        "| 3 | 过滤器 | 4 | 正常 |",
    ]


def test_no_table_is_made_of_prose_or_of_a_letterhead() -> None:
    assert texts(sheet("Only one line stands here")) == []
    assert texts(sheet("Acme Ltd                       12 May 2024\n1 High Street\nLondon")) == []
    assert texts(sheet("")) == []


def test_text_as_it_stands_line_by_line() -> None:
    page = "Dear Sir,\nthe pump was repaired.      Its seal leaks.\n\n\n设备  循环水泵"
    said = page_text.verbatim([(1, sheet(page)), (2, sheet("On the second page"))])
    assert said.text == (
        "Dear Sir,\nthe pump was repaired.  Its seal leaks.\n\n设备循环水泵\n\n--- page 2 ---\n\nOn the second page"
    )
    assert said.evidence is not None
    assert (said.evidence.page, said.evidence.text) == (1, "Dear Sir,")
    assert page_text.verbatim([(1, sheet(""))]) == ("", None, 0.0)


def test_two_columns_of_text_are_read_one_after_the_other() -> None:
    left = [
        "The first column begins here and",
        "goes on for some lines until it",
        "has come down to its end which",
        "is this.",
    ]
    right = [
        "The second is beside it and must",
        "not be mixed with the first when",
        "a person wants to copy the text",
        "of it all.",
    ]
    page = "\n".join(f"{a:<40}{b}" for a, b in zip(left, right, strict=True))
    assert page_text.verbatim([(1, sheet(page))]).text.split() == " ".join(left + right).split()


def test_large_print_is_a_heading_and_signs_of_markdown_are_no_markup() -> None:
    said = page_text.markdown([(1, sheet("! Report\n\n\n# not a heading\nbut text\n\n\n- no list"))])
    assert said.text == "## Report\n\n\\# not a heading but text\n\n\\- no list"


def test_prose_with_verbatim_is_answered_with_the_text() -> None:
    told = ask(
        {"words": {"type": "prose", "verbatim": True}, "total": {"type": "money"}}, "A page\n\nTotal       12.50"
    )
    assert json.loads(told.text) == {"words": "A page\n\nTotal  12.50", "total": "12.50"}
    assert told.evidence["words"].page == 1


def test_a_question_is_answered_with_the_place_of_every_line() -> None:
    job = Job.model_validate({"name": "ask", "questions": True, "fields": {"answer": {"type": "prose"}}})
    told = answer([(1, sheet("Dear Sir,\nit leaks.")), (2, sheet("Yours"))], job)
    lines = [told.evidence[f"answer[{at}]"] for at in range(3)]
    assert [(line.page, line.text) for line in lines] == [(1, "Dear Sir,"), (1, "it leaks."), (2, "Yours")]
    first, second = lines[0].box, lines[1].box
    assert first is not None
    assert second is not None
    assert second.y >= first.bottom - 1
    assert f"answer[{len(lines)}]" not in told.evidence


def drawn(cells: list[list[str]], missing: tuple[int, int] | None = None) -> tuple[Image.Image, list[Line]]:
    """A ruled table whose cells stand so close that only the lines part them; `missing`: no line right of that cell."""
    image = Image.new("RGB", (1200, 900), "white")
    pen = ImageDraw.Draw(image)
    lines = []
    for row, line in enumerate(cells):
        for column, words in enumerate(line):
            x, y = 100 + 200 * column, 100 + 80 * row
            sides = [((x, y), (x + 200, y)), ((x, y), (x, y + 80)), ((x, y + 80), (x + 200, y + 80))]
            if missing != (row, column):
                sides.append(((x + 200, y), (x + 200, y + 80)))
            if missing == (row, column - 1):
                sides.remove(((x, y), (x, y + 80)))
            for side in sides:
                pen.line(side, fill="black", width=2)
            for n, part in enumerate(words.split("\n") if words else []):
                lines.append(Line(part, Box(x + 3, y + 8 + 34 * n, 194, 28), 0.99))
    return image, lines


def test_drawn_lines_part_cells_that_touch_and_hold_two_lines_together() -> None:
    cells = [
        ["Part", "Note", "Count"],
        ["Pump\nNK 32", "was\nrepaired", "2"],
        ["Valve", "", "10"],
        ["Seal", "new", "7"],
    ]
    image, lines = drawn(cells)
    (mesh,) = ruled_grids(np.asarray(image))
    assert (len(mesh.xs) - 1, len(mesh.ys) - 1) == (3, 4)
    found = texts(laid_out(lines, *image.size, meshes=(mesh,)))
    assert found == [[[cell.replace("\n", " ") for cell in row] for row in cells]]


def test_a_cell_over_two_columns_stands_in_both() -> None:
    cells = [["Size in mm", "", "Count"], ["Length", "Width", "n"], ["12", "34", "5"], ["11", "22", "3"]]
    image, lines = drawn(cells, missing=(0, 0))
    found = texts(laid_out(lines, *image.size, meshes=ruled_grids(np.asarray(image))))
    assert found == [[["Size in mm", "Size in mm", "Count"], *cells[1:]]]


def test_what_a_reader_took_for_one_line_is_cut_at_a_drawn_line() -> None:
    cells = [["Part", "Count"], ["AB", "12"], ["CD", "34"]]
    image, lines = drawn(cells)
    lines = [line for line in lines if line.text not in ("AB", "12")]
    lines.append(Line("AB12", Box(103, 188, 394, 28), 0.9))
    found = texts(laid_out(lines, *image.size, meshes=ruled_grids(np.asarray(image))))
    assert found == [cells]


def test_a_frame_and_a_page_without_lines_are_no_table() -> None:
    image = Image.new("RGB", (900, 900), "white")
    assert ruled_grids(np.asarray(image)) == ()
    ImageDraw.Draw(image).rectangle((50, 50, 850, 850), outline="black", width=3)
    assert ruled_grids(np.asarray(image)) == ()
