"""Read and write nested dicts and lists by paths such as `lines[0].amount`."""

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

_STEP = re.compile(r"\[(\d+)\]|\.?([^.\[]+)")


def _steps(path: str) -> list[str | int]:
    return [int(row) if row else name for row, name in _STEP.findall(path)]


def value_at(tree: Any, path: str) -> Any:
    """The value at the path; None where the path does not exist."""
    for step in _steps(path):
        try:
            tree = tree[step]
        except (KeyError, IndexError, TypeError):
            return None
    return tree


def put(tree: Any, path: str, value: Any) -> None:
    """Set the value at the path. Missing groups are created; rows must exist."""
    *steps, last = _steps(path)
    for step in steps:
        if isinstance(tree, dict) and tree.get(step) is None:
            tree[step] = {}
        tree = tree[step]
    tree[last] = value


def map_values(value: Any, change: Callable[[Any], Any]) -> Any:
    """A copy of the tree with `change(value)` for everything that is neither dict nor list."""
    if isinstance(value, Mapping):
        return {key: map_values(each, change) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [map_values(each, change) for each in value]
    return change(value)


def copied(value: Any) -> Any:
    """A copy of the nested dicts and lists."""
    return map_values(value, lambda each: each)


def flat(value: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    """Every leaf of the tree with its path. A list of plain values is one leaf."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from flat(each, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for index, each in enumerate(value):
            yield from flat(each, f"{path}[{index}]")
    else:
        yield path, value


def plain(value: Any) -> Any:
    """The value as read back from JSON, so that typed and stored values compare equal."""
    return map_values(value, _as_json)


def _as_json(value: Any) -> Any:
    if isinstance(value, float):
        return Decimal(repr(value))
    return value.isoformat() if hasattr(value, "isoformat") else value
