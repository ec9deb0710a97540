"""One-line checks over the fields of a job: `sum(lines.amount) == total`. A small grammar, walked by hand; no eval."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from pipeline.fields import Field
from pipeline.types import Issue


@dataclass(frozen=True)
class Rule:
    """A rule as written, and its parsed form."""

    text: str
    tree: ast.expr = field(compare=False, repr=False)


def parse(text: str) -> Rule:
    """Raises ValueError with a message for the person who wrote the rule."""
    try:
        return Rule(text.strip(), ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f'"{text}" is not a rule; write it as in: sum(lines.amount) == total') from None


def faults(rule: Rule, fields: Mapping[str, Field]) -> Iterator[str]:
    """What is wrong with the rule for these fields."""
    yield from ()


def check(rule: Rule, fields: Mapping[str, Field], data: Mapping[str, Any], tolerance: Decimal, today: date) -> list[Issue]:
    """The issues of one rule on one document; none where an operand is null."""
    return []
