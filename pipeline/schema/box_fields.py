"""The boxes in a record, with page and label."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.core.geometry import Box
from pipeline.schema.fields import Field, Leaf, column, leaves, walk


def source_boxes(fields: Mapping[str, Field], data: dict[str, Any]) -> Iterator[tuple[str, int, Box]]:
    """Every box of a record: leaf path, page, box in source pixels."""
    for leaf in _boxes(fields, data):
        value = leaf.value
        if isinstance(value, Mapping) and value.get("page") is not None:
            sides = (value["x"], value["y"], value["width"], value["height"])
            yield leaf.path, int(value["page"]), Box(*map(float, sides))


def labelled(fields: Mapping[str, Field], data: dict[str, Any]) -> Iterator[tuple[int, Box, str]]:
    """Every box of a record with its page and label: the first text in its row, else the field's name."""
    rows = {leaf.path: leaf.holder for leaf in _boxes(fields, data)}
    for path, page, box in source_boxes(fields, data):
        holder = rows[path]
        texts = holder.values() if isinstance(holder, dict) and "]" in path else ()
        yield page, box, next((text for text in texts if isinstance(text, str) and text), column(path))


def has_boxes(fields: Mapping[str, Field]) -> bool:
    return any(leaf.is_box for _, leaf in leaves(fields))


def _boxes(fields: Mapping[str, Field], data: Mapping[str, Any]) -> Iterator[Leaf]:
    return (leaf for leaf in walk(fields, data) if leaf.field.is_box)
