"""The data of a record as a tree of dicts and lists: what stands at a leaf path such as `lines[0].amount`."""

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

_STEP = re.compile(r"\[(\d+)\]|\.?([^.\[]+)")


def _steps(path: str) -> list[str | int]:
    return [int(row) if row else name for row, name in _STEP.findall(path)]


def value_at(tree: Any, path: str) -> Any:
    """What stands at the path; None where the tree does not reach so far."""
    for step in _steps(path):
        try:
            tree = tree[step]
        except (KeyError, IndexError, TypeError):
            return None
    return tree


def put(tree: Any, path: str, value: Any) -> None:
    """Puts the value at the path. Groups on the way are made; rows are there."""
    *steps, last = _steps(path)
    for step in steps:
        if isinstance(tree, dict) and tree.get(step) is None:
            tree[step] = {}
        tree = tree[step]
    tree[last] = value


def map_values(value: Any, change: Callable[[Any], Any]) -> Any:
    """The tree in dicts and lists of its own, with `change(value)` for everything that is neither."""
    if isinstance(value, Mapping):
        return {key: map_values(each, change) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [map_values(each, change) for each in value]
    return change(value)


def copied(value: Any) -> Any:
    """The same values in dicts and lists of their own."""
    return map_values(value, lambda each: each)


def flat(value: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    """Every end of the tree with its path; a list of plain values is one end."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from flat(each, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for index, each in enumerate(value):
            yield from flat(each, f"{path}[{index}]")
    else:
        yield path, value


def plain(value: Any) -> Any:
    """As JSON would give it back, so that the machine's date and a person's compare equal."""
    return map_values(value, _as_json)


def _as_json(value: Any) -> Any:
    if isinstance(value, float):
        return Decimal(repr(value))
    return value.isoformat() if hasattr(value, "isoformat") else value
