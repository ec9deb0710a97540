"""What a sample says: each value is kept once, as typed and as printed, so that the truth is never written twice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from typing import Any

MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]


@dataclass(frozen=True, slots=True)
class Printed:
    """A value and the words on the paper. `words` may hold line breaks, which the truth shows as `joint`."""

    words: str
    value: Any
    joint: str = " "

    @property
    def text(self) -> str:
        return self.words.replace("\n", self.joint)

    @property
    def rows(self) -> list[str]:
        return self.words.split("\n")


@dataclass(frozen=True, slots=True)
class Seen:
    """What is true of the picture but stands nowhere on it in these words: a needle's reading, a box, a description."""

    value: Any


Tree = Printed | Seen | None | Mapping[str, "Tree"] | Sequence["Tree"]


def text(words: str, joint: str = " ") -> Printed:
    return Printed(words, words.replace("\n", joint), joint)


def day(value: date, style: str) -> Printed:
    """`style` is a strftime pattern, or "long" for 3 March 2025, "us" for March 3, 2025, "zh" for 2025年3月3日."""
    month = MONTHS[value.month - 1]
    words = {
        "long": f"{value.day} {month} {value.year}",
        "us": f"{month} {value.day}, {value.year}",
        "zh": f"{value.year}年{value.month}月{value.day}日",
    }.get(style)
    return Printed(words or value.strftime(style), value)


def clock(value: time, style: str = "%H:%M") -> Printed:
    return Printed(value.strftime(style), value)


def amount(value: Decimal | str, style: str = "1,234.56", sign: str = "") -> Printed:
    """Two decimals, grouped as `style` shows; `sign` goes in front ("£") or, with a leading blank, behind (" €")."""
    number = Decimal(value).quantize(Decimal("0.01"))
    group, point = {"1,234.56": (",", "."), "1.234,56": (".", ","), "1 234,56": (" ", ","), "1234.56": ("", ".")}[style]
    words = f"{number:,.2f}".replace(",", "\0").replace(".", point).replace("\0", group)
    return Printed(words + sign if sign.startswith(" ") else sign + words, number)


def count(value: Decimal | str | int, point: str = ".") -> Printed:
    number = Decimal(value)
    return Printed(f"{number:f}".replace(".", point), number)


def as_printed(tree: Tree) -> Any:
    """The tree with the words in place of every value."""
    if tree is None:
        return None
    if isinstance(tree, Printed | Seen):
        return tree.text if isinstance(tree, Printed) else tree.value
    if isinstance(tree, Mapping):
        return {name: as_printed(branch) for name, branch in tree.items()}
    return [as_printed(branch) for branch in tree]


def as_typed(tree: Tree) -> Any:
    """The tree with the typed values: ISO dates and times, exact numbers, plain text, option names."""
    if tree is None:
        return None
    if isinstance(tree, Printed | Seen):
        return tree.value.isoformat() if isinstance(tree.value, (date, time)) else tree.value
    if isinstance(tree, Mapping):
        return {name: as_typed(branch) for name, branch in tree.items()}
    return [as_typed(branch) for branch in tree]


def emptied(tree: Tree) -> Tree:
    """The same fields with nothing in them: None for values, no rows in lists."""
    if isinstance(tree, Mapping):
        return {name: emptied(branch) for name, branch in tree.items()}
    return None if tree is None or isinstance(tree, Printed | Seen) else []


def leaves(tree: Tree) -> list[Printed]:
    """Every value that stands on the paper."""
    if tree is None or isinstance(tree, Seen):
        return []
    if isinstance(tree, Printed):
        return [tree]
    branches = tree.values() if isinstance(tree, Mapping) else tree
    return [leaf for branch in branches for leaf in leaves(branch)]
