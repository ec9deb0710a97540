"""Parse rules and check them against the fields of a job, before any document is read."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, time
from typing import Literal, NamedTuple

from pipeline.schema.fields import ITEM, Field

LIMIT_CHARS = 500
FUNCTIONS = ("sum", "min", "max", "count", "abs")
Kind = Literal["number", "date", "time", "text", "yesno", "texts", "rows"]
_NAMES = {
    "number": "a number",
    "date": "a date",
    "time": "a time",
    "text": "text",
    "yesno": "yes or no",
    "texts": "a list of choices",
    "rows": "a list of rows",
}
ARITHMETIC = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_ORDER = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)


class RuleError(ValueError):
    """What is wrong with a rule, for its author."""


@dataclass(frozen=True)
class Rule:
    """The text of a rule and its syntax tree."""

    text: str
    tree: ast.expr = field(compare=False, repr=False)

    @property
    def names(self) -> frozenset[str]:
        """The top-level field of every name in it: supplier for supplier.name."""
        return frozenset(node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name))


class Shape(NamedTuple):
    """The type of an expression: its kind, the list of its rows, whether it has money, the options of a choice."""

    kind: Kind
    rows: str | None = None
    money: bool = False
    options: tuple[str, ...] = ()


def parse(text: str) -> Rule:
    """Raises RuleError, a ValueError, where the text is not a Python expression."""
    line = text.strip()
    if len(line) > LIMIT_CHARS:
        raise RuleError(f"a rule has at most {LIMIT_CHARS} characters")
    try:
        return Rule(line, ast.parse(line, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        advice = (
            "equal is written ==" if re.search(r"[^=<>!]=[^=]", line) else "write it as in: sum(lines.amount) == total"
        )
        raise RuleError(f'"{line}" is not a rule; {advice}') from None


def faults(rule: Rule, fields: Mapping[str, Field], others: Iterable[str] = ()) -> Iterator[str]:
    """Why the rule is invalid for these fields: at most one sentence, with the rule's text.

    `others` are invalid fields of the job, for suggestions of names.
    """
    try:
        shape = Checker(fields, others).shape(rule.tree)
        if shape.kind != "yesno":
            raise RuleError(f"gives {_NAMES[shape.kind]}; a rule must hold or not, as in: … == …")
    except RuleError as error:
        yield f"{rule.text}: {error}"


class Checker:
    """Determines the shape of every part of a rule, or raises RuleError."""

    def __init__(self, fields: Mapping[str, Field], others: Iterable[str] = ()) -> None:
        self.fields, self.others = fields, tuple(others)

    def shape(self, node: ast.expr) -> Shape:
        match node:
            case ast.Name() | ast.Attribute():
                return self._field(node)
            case ast.Constant(value=given) if kind := _kind_of(given):
                return Shape(kind)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=inner):
                return self._of(inner, "number")
            case ast.UnaryOp(op=ast.Not(), operand=inner):
                return self._of(inner, "yesno")
            case ast.BoolOp(values=parts):
                return self._joined("yesno", [self._of(part, "yesno") for part in parts])
            case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
                return self._arithmetic(ARITHMETIC[type(op)], self.shape(left), self.shape(right))
            case ast.Compare():
                return self._comparison(node)
            case ast.Call():
                return self._call(node)
        raise RuleError(
            f"{ast.unparse(node)} is not allowed in a rule; there are fields, numbers, + - * /, comparisons, "
            f"and or not, {', '.join(FUNCTIONS)} and today"
        )

    def _of(self, node: ast.expr, kind: Kind) -> Shape:
        shape = self.shape(node)
        if shape.kind != kind:
            raise RuleError(f"{ast.unparse(node)} is {_NAMES[shape.kind]}, not {_NAMES[kind]}")
        return shape

    def _joined(self, kind: Kind, shapes: list[Shape]) -> Shape:
        lists = list(dict.fromkeys(shape.rows for shape in shapes if shape.rows))
        if len(lists) > 1:
            raise RuleError(f"mixes the rows of {lists[0]} and {lists[1]}; take a sum of one of them")
        return Shape(kind, lists[0] if lists else None, any(shape.money for shape in shapes))

    def _field(self, node: ast.expr) -> Shape:
        path = dotted_name(node)
        if path == "today":
            return Shape("date")
        inside, rows, at = self.fields, None, ""
        for name in path.split("."):
            if name not in inside:
                known = inside if at else (*inside, *self.others)
                raise RuleError(f"there is no field {at}{name}; {_nearest(name, known)}")
            found, at = inside[name], f"{at}{name}."
            if found.repeats:
                rows = at[:-1]
            inside = found.children if ITEM not in found.children else {}
        if inside:
            if found.repeats:
                return Shape("rows", rows)
            raise RuleError(
                f"{path} is a group; name one of its fields: {', '.join(f'{path}.{name}' for name in inside)}"
            )
        leaf = found.children.get(ITEM, found)
        if (rule_type := leaf.rule_type) is None:
            raise RuleError(f"{path} is of type {leaf.type}, which rules cannot compare")
        return Shape(rule_type.kind, rows, rule_type.money, rule_type.options)

    def _arithmetic(self, sign: str, left: Shape, right: Shape) -> Shape:
        match left.kind, sign, right.kind:
            case "number", _, "number":
                return self._joined("number", [left, right])
            case "date", "-", "date":
                return self._joined("number", [left, right])
            case ("date", "+" | "-", "number") | ("number", "+", "date"):
                return self._joined("date", [left, right])
        raise RuleError(f"{_NAMES[left.kind]} {sign} {_NAMES[right.kind]} has no meaning")

    def _comparison(self, node: ast.Compare) -> Shape:
        shapes = [self.shape(node.left)]
        before, left = node.left, shapes[0]
        for op, part in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, ast.In | ast.NotIn):
                right = self._members(part, left, before)
            else:
                right = self.shape(part)
                if isinstance(op, ast.Is | ast.IsNot):
                    raise RuleError("compares with is; write ==")
                self._comparable(before, left, op, part, right)
            shapes.append(right)
            before, left = part, right
        return self._joined("yesno", shapes)

    def _members(self, node: ast.expr, left: Shape, constant: ast.expr) -> Shape:
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            for element in node.elts:
                if not isinstance(element, ast.Constant):
                    raise RuleError(f"{ast.unparse(element)}: the list after in may only have numbers and quoted words")
                self._comparable(constant, left, ast.Eq(), element, self.shape(element))
            return Shape("texts")
        right = self.shape(node)
        if right.options and isinstance(constant, ast.Constant) and constant.value not in right.options:
            raise RuleError(f'"{constant.value!s}" is not one of the options {", ".join(right.options)}')
        if right.kind != "texts" or left.kind != "text":
            raise RuleError(
                f'a list must follow in, as in currency in ["EUR", "USD"]; {ast.unparse(node)} is {_NAMES[right.kind]}'
            )
        return right

    def _comparable(self, before: ast.expr, left: Shape, op: ast.cmpop, after: ast.expr, right: Shape) -> None:
        for (node, one), other in (((before, left), right), ((after, right), left)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and other.kind in ("date", "time"):
                if parse_moment(node.value, other.kind) is None:
                    form = '"2024-06-15"' if other.kind == "date" else '"14:05"'
                    raise RuleError(f'"{node.value}" is not {_NAMES[other.kind]}; write it as {form}')
                return
            if isinstance(node, ast.Constant) and other.options and node.value not in other.options:
                raise RuleError(f'"{node.value!s}" is not one of the options {", ".join(other.options)}')
            if one.kind in ("rows", "texts"):
                raise RuleError(f"{ast.unparse(node)} is {_NAMES[one.kind]}; use count(…), sum(…) or in")
        if left.kind != right.kind:
            raise RuleError(
                f"compares {_NAMES[left.kind]} ({ast.unparse(before)}) with {_NAMES[right.kind]} ({ast.unparse(after)})"
            )
        if isinstance(op, _ORDER) and left.kind in ("text", "yesno"):
            raise RuleError(
                f"{ast.unparse(before)} is {_NAMES[left.kind]}, which has no more and no less; use == or !="
            )

    def _call(self, node: ast.Call) -> Shape:
        name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
        if name not in FUNCTIONS:
            raise RuleError(f"{name}(…) is not known; {_nearest(name, FUNCTIONS)}")
        if node.keywords or not node.args or any(isinstance(each, ast.Starred) for each in node.args):
            raise RuleError(f"{name}(…) takes plain values")
        shapes = [self.shape(each) for each in node.args]
        first = shapes[0]
        if name == "abs":
            self._one(name, shapes)
            return self._of(node.args[0], "number")
        if name in ("min", "max") and len(shapes) > 1:
            if len({shape.kind for shape in shapes}) > 1 or first.kind not in ("number", "date", "time"):
                raise RuleError(f"{name}(…) takes numbers only, or dates only")
            return self._joined(first.kind, shapes)
        self._one(name, shapes)
        if first.rows is None and not (name == "count" and first.kind == "texts"):
            raise RuleError(f"{name}({ast.unparse(node.args[0])}) needs a column of a list, as in sum(lines.amount)")
        if name == "count":
            return Shape("number")
        if first.kind != "number" and not (name != "sum" and first.kind in ("date", "time")):
            raise RuleError(f"{name}({ast.unparse(node.args[0])}) needs numbers, not {_NAMES[first.kind]}")
        return Shape(first.kind, None, first.money)

    def _one(self, name: str, shapes: list[Shape]) -> None:
        if len(shapes) != 1:
            raise RuleError(f"{name}(…) takes one value")


def _kind_of(constant: object) -> Kind | None:
    """The kind of a constant; None where rules do not allow it, such as 1e99 or bytes."""
    if isinstance(constant, bool):
        return "yesno"
    if isinstance(constant, str):
        return "text"
    return "number" if isinstance(constant, int | float) and abs(constant) < 1e30 else None


def dotted_name(node: ast.expr) -> str:
    """The dotted name of an expression, such as supplier.name. Raises RuleError for any other expression."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=inner, attr=name):
            return f"{dotted_name(inner)}.{name}"
    raise RuleError(f"{ast.unparse(node)} is not the name of a field")


def _nearest(name: str, inside: Iterable[str]) -> str:
    from rapidfuzz import fuzz, process

    near = process.extractOne(name, list(inside), scorer=fuzz.ratio, score_cutoff=60)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(inside)}" if inside else "it has no parts"


def parse_moment(text: str, kind: str) -> date | time | None:
    try:
        return date.fromisoformat(text) if kind == "date" else time.fromisoformat(text)
    except ValueError:
        return None
