"""One answer held against its label: which values are right, close, wrong, missing or invented.

Dates, times, numbers, choices and the like are compared as typed values: the label's `norm`, or what the job's own
field reads from the printing. Texts are compared by their letters and digits, folded: case, width, blanks and
punctuation do not count, but where a text is a number, its minus sign does. Boxes are compared by how much of both
together they share.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from pipeline.evaluation.alignment import in_any_order, in_order
from pipeline.schema.fields import ITEM, Field, leaf_values
from pipeline.schema.fields.similarity import value_text as shown

# close: not exact, but a text of nearly the same letters. empty: the label says nothing is there, and nothing was read.
Verdict = Literal["exact", "close", "wrong", "missing", "invented", "empty"]
PAIRED = (
    0.01  # rows that share nothing are still paired where that costs nothing: one wrong row, not one too few and many
)


@dataclass(frozen=True, slots=True)
class Check:
    """One labelled value. `path` is its place in the answer (`lines[0].amount`), or in the label where it is missing.

    `expected` and `got` are for people: "" where there is nothing. `near` is the similarity of the two, from 0 to 1.
    """

    path: str
    kind: str
    verdict: Verdict
    expected: str
    got: str
    confidence: float | None = None
    near: float = 0.0


class Unread(NamedTuple):
    """A label that the job's field cannot read (02/235/20 as a date). It is reported, and not counted."""

    path: str
    printed: str


@dataclass(frozen=True, slots=True)
class Expected:
    """What a leaf should be: one of `options`, typed; none of them means that nothing should be there."""

    path: str
    field: Field
    options: tuple[Any, ...]
    printed: str


@dataclass(frozen=True, slots=True)
class _List:
    """What a list should hold: for each row its leaves, with paths below the row ("amount"; "" for plain items)."""

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
    """Every labelled value of one document, without confidences, and the labels that could not be read.

    A field that the label does not name is not looked at. Rows of a list are paired in their order, so as to agree
    best; plain items in any order, since the items of a label (the parties of a contract) often have none. Amounts that
    differ by no more than `tolerance`, the job's, are the same.
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
            checks += _rows(item, _inside(data, item.path), tolerance)
    return checks, unread


def judge(expected: Expected, value: Any, path: str, tolerance: Decimal = Decimal(0)) -> Check:
    """One value against what it should be."""
    field, there = expected.field, value is not None and value != [] and value != ""
    verdict: Verdict
    near = 0.0
    if not there:
        verdict = "missing" if expected.options else "empty"
    elif not expected.options:
        verdict = "invented"
    else:
        near = max(field.similarity(option, value, tolerance) for option in expected.options)
        verdict = "exact" if near >= field.exact_from else "close" if near >= field.close_from else "wrong"
    return Check(path, field.type, verdict, expected.printed, shown(value) if there else "", None, near)


# --- what a label expects


def _expect(
    fields: Mapping[str, Field], printed: Mapping[str, Any], norm: Mapping[str, Any], prefix: str
) -> Iterator[Expected | _List | Unread]:
    for name, field in fields.items():
        key = label_key(name, printed) or label_key(name, norm)
        if key is not None:
            yield from _expect_field(field, printed.get(key, norm.get(key)), norm.get(key), prefix + name)


def label_key(name: str, told: Mapping[str, Any]) -> str | None:
    """The key of a label that means the field `name`: the name itself, or one that differs in case only."""
    return name if name in told else next((key for key in told if key.casefold() == name.casefold()), None)


def _expect_field(field: Field, printed: Any, norm: Any, path: str) -> Iterator[Expected | _List | Unread]:
    if field.repeats:
        yield from _expect_list(field, printed, norm, path)
    elif field.children:
        inside = dict.fromkeys(field.children) if _nothing(printed) else printed
        if isinstance(inside, Mapping):
            yield from _expect(field.children, inside, norm if isinstance(norm, Mapping) else {}, f"{path}.")
        else:
            yield Unread(path, shown(printed))
    else:
        yield _expect_leaf(field, printed, norm, path)


def _expect_list(field: Field, printed: Any, norm: Any, path: str) -> Iterator[_List | Unread]:
    told = [] if _nothing(printed) else printed if isinstance(printed, list) else [printed]
    norms = norm if isinstance(norm, list) and len(norm) == len(told) else [None] * len(told)
    item = field.children.get(ITEM)
    rows: list[tuple[Expected, ...]] = []
    for index, (row, row_norm) in enumerate(zip(told, norms, strict=True)):
        if item is not None:
            found = [_expect_leaf(item, row, row_norm, "")]
        elif isinstance(row, Mapping):
            found = list(_expect(field.children, row, row_norm if isinstance(row_norm, Mapping) else {}, ""))  # type: ignore[arg-type]
        else:
            found = [Unread("", shown(row))]
        yield from (Unread(_at(path, index, each.path), each.printed) for each in found if isinstance(each, Unread))
        expected = tuple(each for each in found if isinstance(each, Expected))
        if expected and (item is None or expected[0].options):
            rows.append(expected)
    columns = {leaf.path for row in rows for leaf in row} or {path for path, _ in _row_leaves(field)}
    yield _List(path, field, tuple(rows), frozenset(columns))


def _expect_leaf(field: Field, printed: Any, norm: Any, path: str) -> Expected | Unread:
    """Any of several printings is right, blanks among them aside; for a choice of many they are all meant together."""
    many = field.list_valued  # [120, 80, 310, 140] is one label
    words = [printed] if many or not isinstance(printed, list) else printed
    typed = [norm] if many or not isinstance(norm, list) else norm
    words, typed = [[each for each in told if not _nothing(each)] for told in (words, typed)]
    label = " or ".join(dict.fromkeys(map(shown, words or typed)))
    options = field.label_values(words, typed)
    if options or not (words or typed):
        return Expected(path, field, options, label)
    silent = all(not field.coerce(each).problems for each in words)  # printed as "-", "n/a", "无": nothing
    return Expected(path, field, (), label) if silent else Unread(path, label)


def _nothing(printed: Any) -> bool:
    if isinstance(printed, str):
        return not printed.strip()
    return printed is None or (isinstance(printed, list | dict) and all(_nothing(each) for each in _parts(printed)))


def _parts(told: list[Any] | dict[str, Any]) -> Sequence[Any]:
    return list(told.values()) if isinstance(told, dict) else told


# --- lists


def _row_leaves(field: Field) -> Iterator[tuple[str, Field]]:
    """The leaves of an empty row by their paths below it: a list in a row has none, a plain list one at ""."""
    return ((path, leaf) for path, leaf, _ in leaf_values(field.children, {}))


def _inside(data: Mapping[str, Any], path: str) -> list[Any]:
    """The list at `path` ("lines", "order.lines") in the data."""
    value: Any = data
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return list(value) if isinstance(value, list | tuple) else []


def _at(path: str, index: int, inner: str) -> str:
    return f"{path}[{index}].{inner}" if inner else f"{path}[{index}]"


def _rows(told: _List, rows: list[Any], tolerance: Decimal) -> Iterator[Check]:
    item = told.field.children.get(ITEM)
    if item is not None:
        answers: list[dict[str, Any]] = [{"": row} for row in rows]
    else:
        answers = [{path: value for path, _, value in leaf_values(told.field.children, row or {})} for row in rows]
    leaf_of = dict(_row_leaves(told.field))

    def checks(row: tuple[Expected, ...] | None, answer: int | None, index: int) -> list[Check]:
        expected = {leaf.path: leaf for leaf in row or ()}
        columns = (
            expected
            if row is not None
            else {path: Expected(path, leaf, (), "") for path, leaf in leaf_of.items() if path in told.columns}
        )
        values = {} if answer is None else answers[answer]
        return [judge(leaf, values.get(path), _at(told.path, index, path), tolerance) for path, leaf in columns.items()]

    present = [index for index, answer in enumerate(answers) if any(value is not None for value in answer.values())]
    worth = [[sum(each.near for each in checks(row, answer, 0)) + PAIRED for answer in present] for row in told.rows]
    pairs = (in_any_order if item is not None else in_order)(worth, len(present))
    for row, column in sorted(pairs):
        yield from checks(told.rows[row], present[column], present[column])
    taken_rows, taken = {row for row, _ in pairs}, {column for _, column in pairs}
    for index, expected in enumerate(told.rows):
        if index not in taken_rows:
            yield from checks(expected, None, index)
    for column, answer in enumerate(present):
        if column not in taken:
            yield from (each for each in checks(None, answer, answer) if each.verdict == "invented")
