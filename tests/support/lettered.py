"""Pages drawn in letters: the tests of finders read them as if an OCR engine had."""

import re
from collections.abc import Mapping
from typing import Any

from models.ocr import answer
from models.ocr.text import layout
from models.ocr.text.lines import Line
from pipeline.core.geometry import Box
from pipeline.schema.job import Job

CHAR, HEIGHT, ROW = 10.0, 20.0, 30.0


def lines(page: str, score: float = 0.99) -> list[Line]:
    """Every row of `page` is a row of print; what stands two blanks apart is a line of its own. A row "! x" is
    large."""
    found = []
    for number, row in enumerate(page.strip("\n").split("\n")):
        size = 1.8 if row.startswith("! ") else 1.0
        row = row.removeprefix("! ")
        for match in re.finditer(r"\S+(?: \S+)*", row):
            wide = sum(2 if char >= "⺀" else 1 for char in match[0]) * CHAR
            before = sum(2 if char >= "⺀" else 1 for char in row[: match.start()]) * CHAR
            found.append(Line(match[0], Box(before + 50, number * ROW + 50, wide * size, HEIGHT * size), score))
    return found


def sheet(page: str) -> layout.PageLayout:
    """The page as the finders see it."""
    return layout.page_layout(lines(page), 1000, 1400)


def job(fields: Mapping[str, Any]) -> Job:
    """A job with these fields."""
    return Job.model_validate({"name": "test", "fields": fields})


def ask(fields: Mapping[str, Any], *pages: str) -> answer.OcrAnswer:
    """What the engine answers about pages drawn in letters."""
    return answer.answer([(number, sheet(page)) for number, page in enumerate(pages, 1)], job(fields))
