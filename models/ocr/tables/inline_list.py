"""Plain lists: several values behind or below one label, "异常项: 振动值、机械密封"."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from models.ocr.candidates.label_index import Index
from models.ocr.tables import cells
from models.ocr.tables.cells import PLAIN, Cell
from models.ocr.text.layout import PageLayout, Span
from pipeline.core.types import Evidence

if TYPE_CHECKING:
    from pipeline.schema.fields import ListField

BETWEEN = re.compile(r"\s*(?:[、,，;；|]|(?<=[^\d])/(?=[^\d]))\s*")
BELOW = 4  # rows below a label that is alone on its row
GAP = 1.8  # line heights between such rows


def items(sheets: Sequence[tuple[int, PageLayout]], name: str, field: "ListField") -> list[dict[str, Cell]]:
    """The values of a plain list, split at commas and their like; [] where its label is not found."""
    item = field.item
    if item is None:
        return []
    labels = (*field.labels, *item.labels, name.replace("_", " "))
    known = Index([(label, label) for label in labels])
    for page, sheet in sheets:
        for number, row in enumerate(sheet.rows):
            for place, span in enumerate(row):
                hit = next((hit for hit in known.hits(span.text) if hit.start <= 1 and hit.quality >= 0.85), None)
                if hit is None or span.text[hit.end : hit.end + 1].isalpha():
                    continue
                found = _split(span, hit.end, page, field)
                for other in row[place + 1 :]:
                    found += _split(other, 0, page, field)
                if not found and len(row) == 1 and not span.text[hit.end :].strip(" :："):
                    found = _below(sheet, number, span, page, field)
                if found:
                    return found[: field.answer_items]
    return []


def _below(sheet: PageLayout, number: int, label: Span, page: int, field: "ListField") -> list[dict[str, Cell]]:
    found: list[dict[str, Cell]] = []
    last = label.y1
    for row in sheet.rows[number + 1 : number + 1 + BELOW]:
        if len(row) != 1 or row[0].y0 - last > GAP * sheet.height or abs(row[0].x0 - label.x0) > 4 * sheet.height:
            break
        found += _split(row[0], 0, page, field)
        last = row[0].y1
    return found


def _split(span: Span, start: int, page: int, field: "ListField") -> list[dict[str, Cell]]:
    found: list[dict[str, Cell]] = []
    rest = span.text[start:]
    at = start + len(rest) - len(rest.lstrip(" :：#."))
    for part in BETWEEN.split(span.text[at:]):
        begin = span.text.index(part, at)
        at = begin + len(part)
        text = part.strip()
        if not text or field.coerce([text]).value == [None]:
            continue
        sure = PLAIN * cells.trust(span.score)
        found.append({"": cells.Cell(text, Evidence(page, span.part(begin, at), text), sure)})
    return found
