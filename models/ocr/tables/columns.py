"""The columns of a table: those of the job, other known ones, and the line of headings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple, cast

from models.ocr.candidates.families import CellKind, family
from models.ocr.candidates.label_index import Index
from models.ocr.text.layout import PageLayout, Span
from pipeline.parsing import normalize, numbers, quantities
from pipeline.schema.fields.number import Numeric

if TYPE_CHECKING:
    from pipeline.schema.fields import Field

NUMERIC = frozenset({"number", "money", "measure"})
LEAST_SHARE = 0.6  # of the letters of a heading line that belong to headings
STACKED_GAP = 1.2  # line heights between the two lines of a heading


class Column(NamedTuple):
    """`path` is the field's own name in the list, "" for a column that the job does not ask for."""

    path: str
    kind: str  # one of columns.yaml, or "" where the name says none
    cell: CellKind  # how its cells are read
    field: "Field | None"
    labels: tuple[str, ...]
    unit: str = ""  # that the heading names, for all cells without one

    @property
    def numeric(self) -> bool:
        return self.cell in NUMERIC

    @property
    def decimal(self) -> str | None:
        """The sign between whole and fraction, where the job says it."""
        return self.field.decimal if isinstance(self.field, Numeric) else None


@dataclass(frozen=True, slots=True)
class Heading:
    """A column where it is headed: left and right end of the words in deskewed pixels."""

    column: Column
    x0: float
    x1: float


@dataclass(frozen=True, slots=True)
class Header:
    """The headings from left to right, and the first row below them."""

    headings: tuple[Heading, ...]
    row: int

    @property
    def wanted(self) -> frozenset[str]:
        return frozenset(heading.column.path for heading in self.headings if heading.column.path)


@lru_cache(maxsize=1)
def shipped() -> Mapping[str, Mapping[str, list[str] | str]]:
    """columns.yaml."""
    import yaml

    read: Mapping[str, Mapping[str, list[str] | str]] = yaml.safe_load(
        files("models.ocr.tables").joinpath("columns.yaml").read_text("utf-8")
    )
    return read


def kind_of(name: str) -> str:
    """The kind of column that a field's name means, else ""."""
    wanted = normalize.squash(name)
    for kind, entry in shipped().items():
        if wanted == normalize.squash(kind) or wanted in {normalize.squash(each) for each in entry["names"]}:
            return kind
    return ""


def columns(fields: Mapping[str, "Field"]) -> tuple[Column, ...]:
    """The columns of a list's fields, then the shipped ones that no field asks for."""
    asked = []
    for name, field in fields.items():
        kind = kind_of(name.rsplit(".", 1)[-1])
        own = (*field.labels, name.replace("_", " ").replace(".", " "), *(shipped()[kind]["labels"] if kind else ()))
        asked.append(Column(name, kind, family(field.finder).cell, field, tuple(dict.fromkeys(own))))
    kinds = {column.kind for column in asked}
    others = [
        Column("", kind, cast(CellKind, entry["type"]), None, tuple(entry["labels"]))
        for kind, entry in shipped().items()
        if kind not in kinds
    ]
    if "amount" in kinds and "unit_price" not in kinds:
        # where the job has one price, a table with one "Price" means that
        asked = [_with(column, "Price", "Preis", "Prix", "Precio", "Harga", "单价") for column in asked]
    return (*asked, *others)


def _with(column: Column, *labels: str) -> Column:
    return column._replace(labels=(*column.labels, *labels)) if column.kind == "amount" else column


def index(asked: Sequence[Column]) -> Index:
    """All headings; the owner is the column's place in `asked`."""
    return Index([(label, str(number)) for number, column in enumerate(asked) for label in column.labels])


def header(sheet: PageLayout, asked: Sequence[Column], known: Index, first: int = 0) -> Header | None:
    """The first line of headings at or below row `first` that names the columns best; None where there is none.

    It names at least two columns (or the only one that is asked for, alone on its line) and holds little else.
    """
    wanted = sum(bool(column.path) for column in asked)
    best: tuple[float, Header] | None = None
    for row in range(first, len(sheet.rows)):
        one = _headings(sheet, (row,), asked, known)
        two = _headings(sheet, (row, row + 1), asked, known) if _stacked(sheet, row) else None
        for found, rows in ((one, 1), (two, 2)):
            if found is None:
                continue
            names = {heading.column.path for heading in found if heading.column.path}
            if len(found) < min(2, wanted) or not names or (len(names) < 2 and len(found) < 3 and wanted > 1):
                continue
            score = len(names) + 0.4 * (len(found) - len(names)) - (0.3 if rows == 2 else 0.0)
            if best is None or score > best[0]:
                best = score, Header(tuple(found), row + rows)
    return best[1] if best else None


def _stacked(sheet: PageLayout, row: int) -> bool:
    if row + 1 >= len(sheet.rows):
        return False
    upper, lower = sheet.rows[row], sheet.rows[row + 1]
    gap = min(span.y0 for span in lower) - max(span.y1 for span in upper)
    return gap < STACKED_GAP * sheet.height and not any(numbers.find(span.text) for span in lower)


def _headings(sheet: PageLayout, rows: tuple[int, ...], asked: Sequence[Column], known: Index) -> list[Heading] | None:
    spans = [span for row in rows for span in sheet.rows[row]]
    letters = sum(len(normalize.squash(span.text)) for span in spans)
    if not letters or sum(len(found) for found in (numbers.find(span.text) for span in spans)) > 0:
        return None
    found: list[tuple[float, int, list[int], Span, int, int]] = []
    covered = 0
    for span in spans:
        taken: list[tuple[int, int]] = []
        for hit in known.hits(span.text):
            if hit.quality < 0.8 or any(hit.start < end and start < hit.end for start, end in taken):
                continue
            taken.append((hit.start, hit.end))
            covered += hit.letters
            owners = [int(owner) for owner in known.owners[hit.label]]
            found.append((hit.quality, hit.letters, owners, span, hit.start, hit.end))
    if covered < LEAST_SHARE * letters:
        return None
    return _distinct(found, asked)


def _distinct(found: list[tuple[float, int, list[int], Span, int, int]], asked: Sequence[Column]) -> list[Heading]:
    """One heading a column and one column a heading; those that can mean one column only choose first."""
    headings: dict[int, Heading] = {}
    for _, _, owners, span, start, end in sorted(found, key=lambda each: (len(each[2]), -each[1], -each[3].x0)):
        free = [owner for owner in owners if owner not in headings]
        if not free:
            continue
        free.sort(key=lambda owner: (not asked[owner].path, owner))
        whole = start == 0 and end >= len(span.text)
        box = None if whole else span.part(start, end)
        x0 = span.x0 if box is None else span.x0 + (box.x - span.box.x)
        x1 = span.x1 if box is None else x0 + box.width
        column = asked[free[0]]
        if column.cell == "measure":
            column = column._replace(unit=quantities.unit_in_heading(span.text[end:]))
        headings[free[0]] = Heading(column, x0, x1)
    return sorted(headings.values(), key=lambda heading: heading.x0)
