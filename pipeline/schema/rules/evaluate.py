"""Evaluate a rule on one document."""

import ast
from collections.abc import Iterator, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

from pipeline.core.types import Issue
from pipeline.schema.fields import Field
from pipeline.schema.rules.grammar import ARITHMETIC, Checker, Rule, RuleError, dotted_name, parse_moment


def check(
    rule: Rule, fields: Mapping[str, Field], data: Mapping[str, Any], tolerance: Decimal, today: date
) -> list[Issue]:
    """The issues of a rule on one document: one for each row where it fails. The rule has no `faults`."""
    checker = Checker(fields)
    rows = checker.shape(rule.tree).rows
    count = len(_at(data, rows) or ()) if rows else 1
    found = []
    for row in range(count):
        reader = _Reader(checker, data, tolerance, today, row)
        if reader.value(rule.tree) is False:
            where = f" in row {row + 1} of {rows}" if rows else ""
            message = f"{rule.text} does not hold{where}: {', '.join(reader.sides(rule.tree))}"
            found.append(Issue("rule_failed", _leaf(rule.tree, checker, row), message))
    return found


class _Reader:
    """Evaluates a rule on one document and one row. None means "not known"."""

    def __init__(self, checker: Checker, data: Mapping[str, Any], tolerance: Decimal, today: date, row: int) -> None:
        self.checker, self.data, self.tolerance, self.today, self.row = checker, data, tolerance, today, row

    def value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=given):
                return _plain(given)
            case ast.Name() | ast.Attribute():
                return self._read(node)
            case ast.UnaryOp(op=ast.Not(), operand=inner):
                return None if (known := self.value(inner)) is None else not known
            case ast.UnaryOp(op=op, operand=inner):
                return None if (known := self.value(inner)) is None else -known if isinstance(op, ast.USub) else known
            case ast.BoolOp(op=op, values=parts):
                return _either([self.value(part) for part in parts], isinstance(op, ast.Or))
            case ast.BinOp(left=left, op=op, right=right):
                return _calculated(ARITHMETIC[type(op)], self.value(left), self.value(right))
            case ast.Call():
                return self._called(node)
            case ast.Compare():
                return self._compared(node)
        raise RuleError(ast.unparse(node))

    def _read(self, node: ast.expr) -> Any:
        path = dotted_name(node)
        if path == "today":
            return self.today
        rows = self.checker.shape(node).rows
        if rows is None:
            return _plain(_at(self.data, path))
        row = (_at(self.data, rows) or ())[self.row]
        return _plain(_at(row, path[len(rows) + 1 :]) if path != rows else row)

    def _called(self, node: ast.Call) -> Any:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        first = node.args[0]
        rows = self.checker.shape(first).rows
        if name == "abs":
            return None if (known := self.value(first)) is None else abs(known)
        if len(node.args) > 1:
            values = [self.value(each) for each in node.args]
        elif rows is None:
            return Decimal(len(_at(self.data, dotted_name(first)) or ()))  # count of a choice of many
        else:
            reader = _Reader(self.checker, self.data, self.tolerance, self.today, 0)
            values = []
            for reader.row in range(len(_at(self.data, rows) or ())):
                values.append(reader.value(first))
            if name == "count":
                return Decimal(sum(value is not None for value in values))
        if not values or None in values:
            return None
        return sum(values, Decimal(0)) if name == "sum" else min(values) if name == "min" else max(values)

    def _compared(self, node: ast.Compare) -> bool | None:
        before, left, results = node.left, self.value(node.left), []
        for op, part in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, ast.In | ast.NotIn):
                listed = isinstance(part, ast.List | ast.Tuple | ast.Set)
                right = [self.value(each) for each in part.elts] if listed else self.value(part)  # type: ignore[attr-defined]
                results.append(None if left is None or not right else (left in right) is isinstance(op, ast.In))
            else:
                right = self.value(part)
                money = self.checker.shape(before).money or self.checker.shape(part).money
                results.append(self._holds(op, left, right, self.tolerance if money else Decimal(0)))
            before, left = part, right
        return _either(results, False)

    def _holds(self, op: ast.cmpop, left: Any, right: Any, slack: Decimal) -> bool | None:
        if left is None or right is None:
            return None
        if isinstance(right, str) and isinstance(left, date | time):
            right = parse_moment(right, "date" if isinstance(left, date) else "time")
        elif isinstance(left, str) and isinstance(right, date | time):
            left = parse_moment(left, "date" if isinstance(right, date) else "time")
        if isinstance(op, ast.Eq | ast.NotEq):
            same = abs(left - right) <= slack if isinstance(left, Decimal) else left == right
            return bool(same) is isinstance(op, ast.Eq)
        if isinstance(op, ast.Lt | ast.GtE):
            return bool(left < right) is isinstance(op, ast.Lt)
        return bool(left > right) is isinstance(op, ast.Gt)

    def sides(self, node: ast.expr) -> list[str]:
        """The value of each side of a failed rule: "total is 120.00"."""
        parts = [node.left, *node.comparators] if isinstance(node, ast.Compare) else list(_named(node))
        values: dict[str, str] = {}
        for part in parts:
            if not isinstance(part, ast.Constant | ast.List | ast.Tuple | ast.Set):
                values[ast.unparse(part)] = _display(self.value(part))
        return [f"{name} is {value}" for name, value in values.items()]


def _named(node: ast.expr) -> Iterator[ast.expr]:
    """The fields in a rule in order, without those inside sum(…) and other functions of columns."""
    if isinstance(node, ast.Name | ast.Attribute):
        yield node
    elif not (isinstance(node, ast.Call) and len(node.args) == 1 and ast.unparse(node.func) != "abs"):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr) and not (isinstance(node, ast.Call) and child is node.func):
                yield from _named(child)


def _leaf(tree: ast.expr, checker: Checker, row: int) -> str:
    """The leaf path for the issue: the last field in the rule; in a rule over rows, the last cell of the row."""
    named = [(dotted_name(node), checker.shape(node).rows) for node in _named(tree)]
    named = [(path, rows) for path, rows in named if path != "today"]
    cells = [f"{rows}[{row}]{path[len(rows) :]}" for path, rows in named if rows]
    return cells[-1] if cells else named[-1][0] if named else ""


def _at(data: Any, path: str) -> Any:
    for name in path.split("."):
        data = data.get(name) if isinstance(data, Mapping) else None
    return data


def _plain(value: Any) -> Any:
    """Numbers as exact decimals."""
    return Decimal(repr(value)) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _either(values: list[bool | None], either: bool) -> bool | None:
    """Three-valued `or` (either is True) and `and` (False); None means not known."""
    if either in values:
        return either
    return None if None in values else not either


def _calculated(sign: str, left: Any, right: Any) -> Any:
    if left is None or right is None:
        return None
    if isinstance(left, Decimal) and isinstance(right, date):
        left, right = right, left
    try:
        if isinstance(left, date) and isinstance(right, Decimal):
            return left + timedelta(days=int(right if sign == "+" else -right))
        if isinstance(left, date):
            return Decimal((left - right).days)
        match sign:
            case "+":
                return left + right
            case "-":
                return left - right
            case "*":
                return left * right
        return left / right
    except (ArithmeticError, OverflowError):
        return None


def _display(value: Any) -> str:
    if value is None:
        return "not known"
    if isinstance(value, Decimal):
        whole, _, rest = f"{round(value, 6) if abs(value) < 10**15 else value:f}".partition(".")
        rest = rest[:2] + rest[2:].rstrip("0")
        return f"{whole}.{rest}" if rest.strip("0") or len(rest) == 2 else whole
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
