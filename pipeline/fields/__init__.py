"""The field types. A new one is a small file beside this one and a line in `FIELD_TYPES`.

Leaf paths name single values. In a job: "total", "supplier.name", "lines.amount" (a column). In the data of one
document rows are counted from 0: "lines[0].amount".
"""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field as _Key

from pipeline.fields.box import BoxField
from pipeline.fields.choice import ChoiceField
from pipeline.fields.code import CodeField
from pipeline.fields.date import DateField
from pipeline.fields.field import Closed, Coerced, Field, PageRegion, Problem, Text, shown
from pipeline.fields.group import (
    GroupField,
    answer_keys,
    coerce_object,
    column_names,
    column_types,
    is_empty,
    object_schema,
    prompt_lines,
)
from pipeline.fields.list import ListField
from pipeline.fields.long import LongField, MarkdownField, ProseField
from pipeline.fields.measure import MeasureField
from pipeline.fields.number import IntegerField, MoneyField, NumberField
from pipeline.fields.text import TextField
from pipeline.fields.time import TimeField
from pipeline.fields.yesno import YesNoField

FIELD_TYPES: dict[str, type[Field]] = {
    "text": TextField,
    "integer": IntegerField,
    "number": NumberField,
    "money": MoneyField,
    "date": DateField,
    "time": TimeField,
    "yesno": YesNoField,
    "choice": ChoiceField,
    "measure": MeasureField,
    "prose": ProseField,
    "markdown": MarkdownField,
    "code": CodeField,
    "box": BoxField,
    "group": GroupField,
    "list": ListField,
}

if TYPE_CHECKING:
    AnyField = Field
else:
    AnyField = Annotated[Union[tuple(FIELD_TYPES.values())], _Key(discriminator="type")]  # noqa: UP007 - made from the table

for _nested in (GroupField, ListField):  # they hold fields of every type, themselves included
    _nested.model_rebuild(_types_namespace={"AnyField": AnyField})


def leaves(fields: Mapping[str, Field]) -> Iterator[tuple[str, Field]]:
    """Every column path of a job with its leaf field, in the order of the job: ("lines.amount", MoneyField)."""
    for name, field in fields.items():
        for suffix, leaf in field.leaves():
            yield name + suffix, leaf


def leaf_values(fields: Mapping[str, Field], data: Mapping[str, Any]) -> Iterator[tuple[str, Field, Any]]:
    """Every single value of one document: ("lines[0].amount", MoneyField, Decimal("9.90")), or None."""
    for name, field in fields.items():
        for suffix, leaf, value in field.values(data.get(name)):
            yield name + suffix, leaf, value


def lone_text(fields: Mapping[str, Field]) -> LongField | None:
    """The field of a job that is asked in free text: a long one that stands alone."""
    only = next(iter(fields.values())) if len(fields) == 1 else None
    return only if isinstance(only, LongField) else None


def column(path: str) -> str:
    """The column path of a leaf path: lines[2].amount → lines.amount."""
    return re.sub(r"\[\d+\]", "", path)


__all__ = [
    "FIELD_TYPES",
    "AnyField",
    "BoxField",
    "ChoiceField",
    "Closed",
    "CodeField",
    "Coerced",
    "DateField",
    "Field",
    "GroupField",
    "IntegerField",
    "ListField",
    "LongField",
    "MarkdownField",
    "MeasureField",
    "MoneyField",
    "NumberField",
    "PageRegion",
    "Problem",
    "ProseField",
    "Text",
    "TextField",
    "TimeField",
    "YesNoField",
    "answer_keys",
    "coerce_object",
    "column",
    "column_names",
    "column_types",
    "is_empty",
    "leaf_values",
    "leaves",
    "lone_text",
    "object_schema",
    "prompt_lines",
    "shown",
]
