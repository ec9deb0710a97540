"""The families of candidates that `Field.finder` names: how a cell of a table is read for each, and what it needs.

finders/ proposes candidates for a family; page_text.py answers those that are the text of whole pages.
"""

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pipeline.core.errors import ModelError
from pipeline.schema.fields import (
    ChoiceField,
    DateField,
    Field,
    LineReader,
    MarkdownField,
    MeasureField,
    YesNoField,
    leaves,
)
from pipeline.schema.fields.number import Numeric

if TYPE_CHECKING:
    from pipeline.schema.job import Job

# text: kept as printed, over several lines. verbatim: kept, of one line. value: printed as the field coerces it.
CellKind = Literal["text", "verbatim", "value", "date", "number", "money", "measure"]


class Family(NamedTuple):
    """`needs` is the class whose keys the finder asks; `reads_lines`: a field whose locator is a LineReader."""

    cell: CellKind
    needs: type[Any] = Field
    whole_page: bool = False
    tables: bool = False  # drawn lines are looked for
    reads_lines: bool = False


FAMILIES: dict[str, Family] = {
    "date": Family("date", DateField),
    "time": Family("value"),
    "money": Family("money", Numeric),
    "number": Family("number", Numeric),
    "integer": Family("number", Numeric),
    "measure": Family("measure", MeasureField),
    "company": Family("text"),
    "name": Family("text"),
    "address": Family("text"),
    "id": Family("text"),
    "phone": Family("text"),
    "email": Family("text"),
    "url": Family("text"),
    "text": Family("text"),
    "choice": Family("value", ChoiceField),
    "yesno": Family("value", YesNoField),
    "currency": Family("value", ChoiceField),
    "lines": Family("value", reads_lines=True),
    "prose": Family("verbatim", whole_page=True),
    "markdown": Family("value", MarkdownField, whole_page=True, tables=True),
}


def family(name: str | None) -> Family:
    """Raises ModelError for a name that is not in FAMILIES; `unfit` says so when a job is checked."""
    if name not in FAMILIES:
        raise ModelError(f"the CPU engine has no finder {name}; it has {', '.join(FAMILIES)}")
    return FAMILIES[name]


def unfit(path: str, field: Field) -> str | None:
    """Why the finder that a field names cannot serve it, or None."""
    try:
        named = family(field.finder)
    except ModelError as error:
        return f"{path}, a field of type {field.type}, cannot be read: {error}"
    lacks = "" if isinstance(field, named.needs) else f"is not a {named.needs.__name__}"
    if named.reads_lines and not isinstance(field.locator, LineReader):
        lacks = "has no LineReader as its locator"
    return f"{path}, a field of type {field.type}, {lacks}, which the finder {field.finder} needs" if lacks else None


def unsupported_reason(job: "Job") -> str | None:
    """Why the CPU engine cannot answer a job, or None: a field needs a model that sees the picture, or its finder is
    unknown.

    In a job of questions, prose is answered with the text on the pictures, and the record says so.
    """
    for path, leaf in leaves(job.fields):
        if not leaf.readable and not (job.questions and leaf.answers_question):
            return "only the GPU engine, which looks at pictures, can answer"
        if reason := unfit(path, leaf):
            return reason
    return None
