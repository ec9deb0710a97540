"""Traverse nested fields and their data.

Leaf paths name single values. In a job: "total", "supplier.name", "lines.amount" (a column). In the data of one
document rows are counted from 0: "lines[0].amount". A plain list has one column without a name: "tags", "tags[0]".
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from pipeline.schema.fields.base import ITEM, Field

T = TypeVar("T")


class Leaf(NamedTuple):
    """One single value of a document: `value` is `holder[key]`, or None where that is missing."""

    path: str
    field: Field
    value: Any
    holder: Any
    key: str | int


def leaves(fields: Mapping[str, Field], prefix: str = "", *, whole_lists: bool = False) -> Iterator[tuple[str, Field]]:
    """Every column path of a job with its leaf field, in the order of the job: ("lines.amount", MoneyField).

    With `whole_lists` a list is one leaf: ("lines", ListField).
    """
    for name, field in fields.items():
        path = _joined(prefix, name)
        if field.children and not (whole_lists and field.repeats):
            yield from leaves(field.children, path, whole_lists=whole_lists)
        else:
            yield path, field


def walk(fields: Mapping[str, Field], data: Mapping[str, Any], prefix: str = "") -> Iterator[Leaf]:
    """Every single value of one document, in the order of the job."""
    for name, field in fields.items():
        path, value = _joined(prefix, name), data.get(name)
        if not field.children:
            yield Leaf(path, field, value, data, name)
        elif not field.repeats:
            yield from walk(field.children, value or {}, path)
        else:
            item = field.children.get(ITEM)
            for index, row in enumerate(value or ()):
                at = f"{path}[{index}]"
                if item is not None:
                    yield Leaf(at, item, row, value, index)
                else:
                    yield from walk(field.children, row or {}, at)


def leaf_values(fields: Mapping[str, Field], data: Mapping[str, Any]) -> Iterator[tuple[str, Field, Any]]:
    """Every single value of one document: ("lines[0].amount", MoneyField, Decimal("9.90")), or None."""
    for leaf in walk(fields, data):
        yield leaf.path, leaf.field, leaf.value


def map_leaves(
    fields: Mapping[str, Field], data: Any, change: Callable[[str, Field, Any], Any], prefix: str = ""
) -> dict[str, Any]:
    """Data of the fields' shape with `change(path, field, value)` for every single value.

    Groups are made where the data has none; a list has as many rows as its data, none where that is no list.
    """
    given: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
    mapped: dict[str, Any] = {}
    for name, field in fields.items():
        path, value = _joined(prefix, name), given.get(name)
        if not field.children:
            mapped[name] = change(path, field, value)
        elif not field.repeats:
            mapped[name] = map_leaves(field.children, value, change, path)
        else:
            rows = enumerate(value if isinstance(value, list | tuple) else ())
            item = field.children.get(ITEM)
            mapped[name] = [
                map_leaves(field.children, row, change, f"{path}[{index}]")
                if item is None
                else change(f"{path}[{index}]", item, row)
                for index, row in rows
            ]
    return mapped


def fold(
    fields: Mapping[str, Field],
    leaf: Callable[[Field], T],
    group: Callable[[dict[str, T]], T],
    rows: Callable[[T], T],
) -> T:
    """Fold the tree of fields bottom-up: `leaf` of each single field, `group` of the results of a group or row by name,
    `rows` of the result of one row.
    """

    def of(field: Field) -> T:
        if not field.children:
            return leaf(field)
        item = field.children.get(ITEM)
        inside = fold(field.children, leaf, group, rows) if item is None else leaf(item)
        return rows(inside) if field.repeats else inside

    return group({name: of(field) for name, field in fields.items()})


def missing(fields: Mapping[str, Field], data: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The paths of missing required values. Of a missing required group only its own path."""
    for name, field in fields.items():
        path, value = _joined(prefix, name), data.get(name)
        if field.required and is_empty(value):
            yield path
        elif field.repeats:
            for index, row in enumerate(value or ()):
                yield from missing(field.children, {ITEM: row} if ITEM in field.children else row, f"{path}[{index}]")
        elif field.children:
            yield from missing(field.children, value or {}, path)


def is_empty(value: Any) -> bool:
    """Whether there is no value: None, an empty list, or a dict of empty values."""
    if isinstance(value, dict):
        return all(is_empty(each) for each in value.values())
    return value is None or value == []


def column(path: str) -> str:
    """The column path of a leaf path: lines[2].amount → lines.amount."""
    return re.sub(r"\[\d+\]", "", path)


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix and name else prefix or name
