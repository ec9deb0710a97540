"""Compare one answer with its label: which values are exact, close, wrong, missing or invented.

Dates, times, numbers and choices are compared as typed values: the label's `norm`, or the printed value as the job's
field parses it. Texts are compared by their letters and digits: case, width, blanks and punctuation are ignored, except
the minus sign of a number. Boxes are compared by intersection over union.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from pipeline.evaluation.alignment import align_in_any_order, align_in_order
from pipeline.schema.fields import ITEM, Field, leaf_values
from pipeline.schema.fields.similarity import value_text as shown

# close: not exact, but a text of nearly the same letters. empty: no value in the label, and none in the answer.
Verdict = Literal["exact", "close", "wrong", "missing", "invented", "empty"]
BASE_SIMILARITY = 0.01  # pairs rows without a common value: one wrong row, not a missing and an extra one


@dataclass(frozen=True, slots=True)
class Check:
    """The comparison of one labelled value.

    `path` is its path in the answer (`lines[0].amount`), or in the label if the answer has no such value.
    `expected` and `got` are for display, "" for no value. `near` is the similarity of the two, from 0 to 1.
    """

    path: str
    kind: str
    verdict: Verdict
    expected: str
    got: str
    confidence: float | None = None
    near: float = 0.0


class Unread(NamedTuple):
    """A label that the job's field cannot parse (02/235/20 as a date). It is reported, and not counted."""

    path: str
    printed: str


@dataclass(frozen=True, slots=True)
class Expected:
    """The expected value of a leaf: one of `options`, typed. Empty: no value is expected."""

    path: str
    field: Field
    options: tuple[Any, ...]
    printed: str


@dataclass(frozen=True, slots=True)
class _List:
    """The expected rows of a list: the leaves of each row, with paths below the row ("amount"; "" for plain items)."""

    path: str
    field: Field
    rows: tuple[tuple[Expected, ...], ...]
    columns: frozenset[str]


def check(
    fields: Mapping[str, Field],
    printed: Mapping[str, Any],
    norm: Mapping[str, Any],
    data: Mapping[str, Any],
    tolerance: Decimal = Decimal(0),
) -> tuple[list[Check], list[Unread]]:
    """Checks of every labelled value of one document, without confidences, and labels that cannot be parsed.

    Fields that the label does not name are ignored. Rows of a list are aligned in order, by the greatest similarity.
    Plain items are aligned in any order: those of a label (the parties of a contract) often have none. Amounts that
    differ by at most `tolerance` are equal.
    """
    values = {path: value for path, _, value in leaf_values(fields, data)}
    checks: list[Check] = []
    unread: list[Unread] = []
    for item in _expect(fields, printed, norm, ""):
        if isinstance(item, Unread):
            unread.append(item)
        elif isinstance(item, Expected):
            checks.append(judge(item, values.get(item.path), item.path, tolerance))
        else:
            checks += _compare_rows(item, _list_at(data, item.path), tolerance)
    return checks, unread


def judge(expected: Expected, value: Any, path: str, tolerance: Decimal = Decimal(0)) -> Check:
    """Compare one value with the expected one."""
    field, has_value = expected.field, value is not None and value != [] and value != ""
    verdict: Verdict
    near = 0.0
    if not has_value:
        verdict = "missing" if expected.options else "empty"
    elif not expected.options:
        verdict = "invented"
    else:
        near = max(field.similarity(option, value, tolerance) for option in expected.options)
        verdict = "exact" if near >= field.exact_from else "close" if near >= field.close_from else "wrong"
    return Check(path, field.type, verdict, expected.printed, shown(value) if has_value else "", None, near)


# --- expected values of a label


def _expect(
    fields: Mapping[str, Field], printed: Mapping[str, Any], norm: Mapping[str, Any], prefix: str
) -> Iterator[Expected | _List | Unread]:
    for name, field in fields.items():
        key = label_key(name, printed) or label_key(name, norm)
        if key is not None:
            yield from _expect_field(field, printed.get(key, norm.get(key)), norm.get(key), prefix + name)


def label_key(name: str, label: Mapping[str, Any]) -> str | None:
    """The key of a label for the field `name`: the name itself, or one that differs only in case."""
    return name if name in label else next((key for key in label if key.casefold() == name.casefold()), None)


def _expect_field(field: Field, printed: Any, norm: Any, path: str) -> Iterator[Expected | _List | Unread]:
    if field.repeats:
        yield from _expect_list(field, printed, norm, path)
    elif field.children:
        inside = dict.fromkeys(field.children) if _is_blank(printed) else printed
        if isinstance(inside, Mapping):
            yield from _expect(field.children, inside, norm if isinstance(norm, Mapping) else {}, f"{path}.")
        else:
            yield Unread(path, shown(printed))
    else:
        yield _expect_leaf(field, printed, norm, path)


def _expect_list(field: Field, printed: Any, norm: Any, path: str) -> Iterator[_List | Unread]:
    labels = [] if _is_blank(printed) else printed if isinstance(printed, list) else [printed]
    norms = norm if isinstance(norm, list) and len(norm) == len(labels) else [None] * len(labels)
    item = field.children.get(ITEM)
    rows: list[tuple[Expected, ...]] = []
    for index, (row, row_norm) in enumerate(zip(labels, norms, strict=True)):
        if item is not None:
            found = [_expect_leaf(item, row, row_norm, "")]
        elif isinstance(row, Mapping):
            found = list(_expect(field.children, row, row_norm if isinstance(row_norm, Mapping) else {}, ""))  # type: ignore[arg-type]
        else:
            found = [Unread("", shown(row))]
        yield from (
            Unread(_row_path(path, index, each.path), each.printed) for each in found if isinstance(each, Unread)
        )
        expected = tuple(each for each in found if isinstance(each, Expected))
        if expected and (item is None or expected[0].options):
            rows.append(expected)
    columns = {leaf.path for row in rows for leaf in row} or {path for path, _ in _row_leaves(field)}
    yield _List(path, field, tuple(rows), frozenset(columns))


def _expect_leaf(field: Field, printed: Any, norm: Any, path: str) -> Expected | Unread:
    """A list of printed values means alternatives, ignoring blanks; for a list-valued field it is one value."""
    list_valued = field.list_valued  # [120, 80, 310, 140] is one label
    texts = [printed] if list_valued or not isinstance(printed, list) else printed
    typed = [norm] if list_valued or not isinstance(norm, list) else norm
    texts, typed = [[each for each in values if not _is_blank(each)] for values in (texts, typed)]
    label = " or ".join(dict.fromkeys(map(shown, texts or typed)))
    options = field.label_values(texts, typed)
    if options or not (texts or typed):
        return Expected(path, field, options, label)
    means_no_value = all(not field.coerce(each).problems for each in texts)  # "-", "n/a", "无"
    return Expected(path, field, (), label) if means_no_value else Unread(path, label)


def _is_blank(printed: Any) -> bool:
    if isinstance(printed, str):
        return not printed.strip()
    return printed is None or (isinstance(printed, list | dict) and all(_is_blank(each) for each in _parts(printed)))


def _parts(printed: list[Any] | dict[str, Any]) -> Sequence[Any]:
    return list(printed.values()) if isinstance(printed, dict) else printed


# --- lists


def _row_leaves(field: Field) -> Iterator[tuple[str, Field]]:
    """The leaves of a row by their paths below it; a plain list has one, at ""."""
    return ((path, leaf) for path, leaf, _ in leaf_values(field.children, {}))


def _list_at(data: Mapping[str, Any], path: str) -> list[Any]:
    """The list at `path` ("lines", "order.lines") in the data."""
    value: Any = data
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return list(value) if isinstance(value, list | tuple) else []


def _row_path(path: str, index: int, inner: str) -> str:
    return f"{path}[{index}].{inner}" if inner else f"{path}[{index}]"


def _compare_rows(label: _List, rows: list[Any], tolerance: Decimal) -> Iterator[Check]:
    item = label.field.children.get(ITEM)
    if item is not None:
        answers: list[dict[str, Any]] = [{"": row} for row in rows]
    else:
        answers = [{path: value for path, _, value in leaf_values(label.field.children, row or {})} for row in rows]
    leaf_of = dict(_row_leaves(label.field))

    def checks(row: tuple[Expected, ...] | None, answer: int | None, index: int) -> list[Check]:
        expected = {leaf.path: leaf for leaf in row or ()}
        columns = (
            expected
            if row is not None
            else {path: Expected(path, leaf, (), "") for path, leaf in leaf_of.items() if path in label.columns}
        )
        values = {} if answer is None else answers[answer]
        return [
            judge(leaf, values.get(path), _row_path(label.path, index, path), tolerance)
            for path, leaf in columns.items()
        ]

    present = [index for index, answer in enumerate(answers) if any(value is not None for value in answer.values())]
    similarity = [
        [sum(each.near for each in checks(row, answer, 0)) + BASE_SIMILARITY for answer in present]
        for row in label.rows
    ]
    pairs = (align_in_any_order if item is not None else align_in_order)(similarity, len(present))
    for row, column in sorted(pairs):
        yield from checks(label.rows[row], present[column], present[column])
    paired_rows, paired_answers = {row for row, _ in pairs}, {column for _, column in pairs}
    for index, expected in enumerate(label.rows):
        if index not in paired_rows:
            yield from checks(expected, None, index)
    for column, answer in enumerate(present):
        if column not in paired_answers:
            yield from (each for each in checks(None, answer, answer) if each.verdict == "invented")
