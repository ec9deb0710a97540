"""The field types. A new one needs a module in this package and a line in `FIELD_TYPES`, or an entry point."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field as _Key

from pipeline.schema.fields.base import (
    ITEM,
    Coerced,
    Field,
    LineReader,
    PrintSearch,
    Problem,
    RuleType,
    Widget,
    shown,
)
from pipeline.schema.fields.box import BoxField
from pipeline.schema.fields.choice import ChoiceField
from pipeline.schema.fields.code import CodeField
from pipeline.schema.fields.date import DateField
from pipeline.schema.fields.group import (
    GroupField,
    answer_keys,
    coerce_object,
    column_names,
    column_types,
    object_schema,
    object_tokens,
    prompt_lines,
)
from pipeline.schema.fields.list import ListField
from pipeline.schema.fields.long_text import LongField, MarkdownField, ProseField
from pipeline.schema.fields.measure import MeasureField
from pipeline.schema.fields.model import Closed, PageRegion, Text
from pipeline.schema.fields.nested import Leaf, column, fold, is_empty, leaf_values, leaves, map_leaves, missing, walk
from pipeline.schema.fields.number import IntegerField, MoneyField, NumberField
from pipeline.schema.fields.plugins import installed
from pipeline.schema.fields.text import TextField
from pipeline.schema.fields.time import TimeField
from pipeline.schema.fields.yesno import YesNoField

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
_INSTALLED, TYPE_FAULTS = installed(FIELD_TYPES)  # `load_jobs` raises the faults
FIELD_TYPES |= _INSTALLED

if TYPE_CHECKING:
    AnyField = Field
else:
    AnyField = Annotated[Union[tuple(FIELD_TYPES.values())], _Key(discriminator="type")]  # noqa: UP007 - made from the table

for _nested in (GroupField, ListField):  # they nest fields of every type
    _nested.model_rebuild(_types_namespace={"AnyField": AnyField})


def lone_text(fields: Mapping[str, Field]) -> LongField | None:
    """The only field, if it is a long text: then the job is asked in free text."""
    only = next(iter(fields.values())) if len(fields) == 1 else None
    return only if isinstance(only, LongField) else None


__all__ = [
    "FIELD_TYPES",
    "ITEM",
    "TYPE_FAULTS",
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
    "Leaf",
    "LineReader",
    "ListField",
    "LongField",
    "MarkdownField",
    "MeasureField",
    "MoneyField",
    "NumberField",
    "PageRegion",
    "PrintSearch",
    "Problem",
    "ProseField",
    "RuleType",
    "Text",
    "TextField",
    "TimeField",
    "Widget",
    "YesNoField",
    "answer_keys",
    "coerce_object",
    "column",
    "column_names",
    "column_types",
    "fold",
    "is_empty",
    "leaf_values",
    "leaves",
    "lone_text",
    "map_leaves",
    "missing",
    "object_schema",
    "object_tokens",
    "prompt_lines",
    "shown",
    "walk",
]
