"""Stages ask hooks of a field, never its type; and a hook that is missing is told before anything is read."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from models.ocr.answer import WHOLE_PAGES
from models.ocr.candidates.families import FAMILIES, unfit
from models.ocr.candidates.finders import FINDERS
from models.ocr.factory import OcrFactory
from pipeline.schema.fields import (
    FIELD_TYPES,
    Coerced,
    Field,
    LineReader,
    PrintSearch,
    RuleType,
    TextField,
    Widget,
    fold,
    leaf_values,
    leaves,
    map_leaves,
    walk,
)
from pipeline.schema.fields.plugins import installed
from pipeline.schema.fields.text import TEXT_KINDS
from pipeline.schema.job import Job, parse_job
from tests.support.extending import section

PROJECT = Path(__file__).parents[3]
FOLDERS = ("pipeline", "models", "web", "commands", "operations", "benchmarks", "tests/stress")
SOURCES = [
    path
    for folder in FOLDERS
    for path in sorted((PROJECT / folder).rglob("*.py"))
    if not path.is_relative_to(PROJECT / "pipeline" / "schema" / "fields")
]
KEYS = {key for kind in FIELD_TYPES.values() for key in (*kind.model_fields, *vars(kind))} | set(vars(Field))
KEYS -= {key for key in KEYS if key.startswith("__")}

HOOKS: dict[str, Any] = {
    "type_name": "a colour",
    "rule_type": RuleType("text"),
    "locator": PrintSearch(verbatim=False),
    "finder": "text",
    "widget": Widget("line"),
    "parse": lambda self, answer: Coerced(answer),
    "arrow": lambda self: None,
    "example": lambda self: "red",
}


def colour(**hooks: Any) -> type[Field]:
    """A field type with these hooks, made as a class statement makes it."""
    content = {"__module__": __name__, "__annotations__": {"type": str}, "type": "colour", **hooks}
    for name, value in hooks.items():
        if not callable(value):
            content["__annotations__"][name] = ClassVar[Any]
    return type(Field)("ColourField", (Field,), content)


# --- no stage asks for the type


def type_tests(source: str) -> Iterator[int]:
    """The lines that compare the type of a field, or ask whether a field has a key that only some types have."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            words = {each.value for side in sides for each in ast.walk(side) if isinstance(each, ast.Constant)}
            foreign = bool(words) and not words & set(FIELD_TYPES)  # such as device.type == "cuda"
            if any(isinstance(side, ast.Attribute) and side.attr == "type" for side in sides) and not foreign:
                yield node.lineno
        elif isinstance(node, ast.Match):
            asked = [each for each in ast.walk(node.subject) if isinstance(each, ast.Attribute)]
            if any(each.attr == "type" for each in asked):
                yield node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr"):
            asked, name = ast.unparse(node.args[0]), node.args[1]
            if isinstance(name, ast.Constant) and name.value in KEYS and asked != "value":  # a value is no field
                yield node.lineno


@pytest.mark.parametrize(
    "line",
    [
        'field.type == "list"',
        'leaf.type not in ("text", "prose")',
        "leaf.type in SHOWS_TABLES",
        '"box" != wanted.field.type',
        'getattr(field, "many", False)',
        'hasattr(each, "fields")',
        'getattr(wanted.field, "order", "DMY")',
        "match field.type:\n    case _: pass",
    ],
)
def test_what_asks_for_a_type_is_seen(line: str) -> None:
    assert list(type_tests(line)) == [1]


@pytest.mark.parametrize("line", ['device.type == "cuda"', "shape.kind == wanted", 'getattr(error, "strerror", None)'])
def test_what_asks_something_else_is_not(line: str) -> None:
    assert list(type_tests(line)) == []


def test_no_module_asks_a_field_for_its_type() -> None:
    assert len(SOURCES) > 150
    found = [f"{path.relative_to(PROJECT)}:{line}" for path in SOURCES for line in type_tests(path.read_text("utf-8"))]
    assert found == []


# --- what is missing is told at once


def test_a_class_with_all_hooks_is_a_type() -> None:
    assert colour(**HOOKS)().coerce("red") == ("red", ())


@pytest.mark.parametrize("hook", HOOKS)
def test_a_missing_hook_fails_where_the_class_is_defined(hook: str) -> None:
    with pytest.raises(TypeError, match=rf"the field type colour \(ColourField\) lacks {hook}$"):
        colour(**{name: value for name, value in HOOKS.items() if name != hook})


def test_the_hooks_without_a_default_are_those_of_the_page() -> None:
    page = section("A field type").partition("### The hooks")[2]
    told = [line.split("`")[1].partition("(")[0] for line in page.splitlines() if line.startswith("| `")]
    assert set(told[: len(HOOKS)]) == set(HOOKS) == {"type_name", *Field.__abstractmethods__}


def job_of(field: Field) -> Job:
    job = parse_job(b"name: paint\nfields: {shade: {type: text}}")
    return job.model_copy(update={"fields": {"shade": field}})


def test_the_cpu_engine_refuses_a_finder_that_it_does_not_know() -> None:
    assert OcrFactory.unsupported_reason(job_of(colour(**HOOKS)())) is None
    reason = OcrFactory.unsupported_reason(job_of(colour(**HOOKS | {"finder": "spectrum"})()))
    assert reason is not None
    assert (
        "shade, a field of type colour, cannot be read: the CPU engine has no finder spectrum; it has date," in reason
    )


@pytest.mark.parametrize(
    ("finder", "lacks"),
    [("lines", "has no LineReader as its locator"), ("money", "is not a Numeric"), ("choice", "is not a ChoiceField")],
)
def test_the_cpu_engine_refuses_a_field_without_what_its_finder_asks(finder: str, lacks: str) -> None:
    field = colour(**HOOKS | {"finder": finder})()
    assert (
        OcrFactory.unsupported_reason(job_of(field))
        == f"shade, a field of type colour, {lacks}, which the finder {finder} needs"
    )


def test_what_only_looking_answers_is_refused() -> None:
    assert "looks at pictures" in (OcrFactory.unsupported_reason(job_of(colour(**HOOKS | {"finder": None})())) or "")


def test_every_family_is_answered_and_every_finder_is_a_family() -> None:
    assert set(FAMILIES) == set(FINDERS) | set(WHOLE_PAGES)
    assert {name for name, each in FAMILIES.items() if each.whole_page} == set(WHOLE_PAGES)
    assert set(TEXT_KINDS.values()) <= set(FAMILIES)
    assert [unfit("a", TextField(kind=kind)) for kind in TEXT_KINDS] == [None] * len(TEXT_KINDS)


# --- types of packages


def package(place: Path, code: str, name: str = "colour") -> None:
    """An installed package with one entry point."""
    info = place / "paint-1.0.dist-info"
    info.mkdir(parents=True)
    (place / f"paint_{place.name}.py").write_text(code)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: paint\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[scanmill.fields]\n{name} = paint_{place.name}:ColourField\n")


COLOUR = """
from typing import ClassVar, Literal
from pipeline.schema.fields import TextField

class ColourField(TextField):
    type: Literal["colour"] = "colour"
    type_name: ClassVar[str] = "a colour"
"""


def test_a_package_brings_its_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path / "good", COLOUR)
    monkeypatch.syspath_prepend(tmp_path / "good")
    found, faults = installed(FIELD_TYPES)
    assert found["colour"](hint="of the door").prompt_text() == "text; of the door"
    assert faults == []


@pytest.mark.parametrize(
    ("case", "code", "name", "said"),
    [
        ("gone", "", "colour", "module 'paint_gone' has no attribute 'ColourField'"),
        ("hollow", COLOUR.replace("TextField", "Field"), "colour", "the field type colour (ColourField) lacks arrow, "),
        ("other", "class ColourField: pass", "colour", "paint_other:ColourField must be a class that extends Field."),
        ("renamed", COLOUR, "shade", "its class has the type 'colour'"),
        ("taken", COLOUR, "date", "bring this field type. Uninstall one of them."),
        ("raises", "raise OSError('no paint')", "colour", "no paint"),
    ],
)
def test_a_package_that_brings_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, code: str, name: str, said: str
) -> None:
    package(tmp_path / case, code, name)
    monkeypatch.syspath_prepend(tmp_path / case)
    found, (fault,) = installed(FIELD_TYPES)
    assert found == {}
    assert said in str(fault)
    assert str(fault).startswith(f"package paint 1.0: scanmill.fields: {name}: ")


def test_a_package_that_brings_none_stops_a_run(tmp_path: Path) -> None:
    package(tmp_path / "torn", "raise OSError('no paint')")
    done = subprocess.run(
        [sys.executable, "run_batch.py", "check"],
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "torn")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    said = "paint_torn:ColourField cannot be imported (OSError: no paint). Repair or uninstall it."
    assert done.stderr == f"package paint 1.0: scanmill.fields: colour: {said}\n"


# --- one walk

NESTED = parse_job(
    b"""
name: nested
fields:
  total: {type: money}
  seller: {type: group, fields: {name: {type: text}, marks: {type: list, item: {type: text}}}}
  lines: {type: list, fields: {amount: {type: money}, part: {type: group, fields: {weight: {type: number}}}}}
"""
).fields
DATA = {
    "total": 1,
    "seller": {"name": "A", "marks": ["x", "y"]},
    "lines": [{"amount": 2, "part": {"weight": 3.0}}, {"amount": None, "part": None}],
}


def test_leaves_are_those_of_the_job() -> None:
    paths = ["total", "seller.name", "seller.marks", "lines.amount", "lines.part.weight"]
    assert [path for path, _ in leaves(NESTED)] == paths
    assert [path for path, _ in leaves(NESTED, whole_lists=True)] == [*paths[:3], "lines"]


def test_a_walk_meets_every_value_in_its_holder() -> None:
    assert [(path, value) for path, _, value in leaf_values(NESTED, DATA)] == [
        ("total", 1), ("seller.name", "A"), ("seller.marks[0]", "x"), ("seller.marks[1]", "y"), ("lines[0].amount", 2),
        ("lines[0].part.weight", 3.0), ("lines[1].amount", None), ("lines[1].part.weight", None),
    ]  # fmt: skip
    assert all(leaf.value is None or leaf.holder[leaf.key] == leaf.value for leaf in walk(NESTED, DATA))


def test_map_leaves_keeps_the_shape_and_makes_what_is_not_there() -> None:
    assert map_leaves(NESTED, DATA, lambda path, field, value: (path, field.type, value)) == {
        "total": ("total", "money", 1),
        "seller": {
            "name": ("seller.name", "text", "A"),
            "marks": [("seller.marks[0]", "text", "x"), ("seller.marks[1]", "text", "y")],
        },
        "lines": [
            {"amount": ("lines[0].amount", "money", 2), "part": {"weight": ("lines[0].part.weight", "number", 3.0)}},
            {
                "amount": ("lines[1].amount", "money", None),
                "part": {"weight": ("lines[1].part.weight", "number", None)},
            },
        ],
    }
    nothing = {"total": None, "seller": {"name": None, "marks": []}, "lines": []}
    for data in ({}, None, {"seller": "A", "lines": {"amount": 1}}):
        assert map_leaves(NESTED, data, lambda path, field, value: value) == nothing


def test_fold_makes_one_thing_of_the_shape() -> None:
    said = fold(
        NESTED, lambda leaf: leaf.type, lambda parts: "{" + ",".join(parts.values()) + "}", lambda row: f"[{row}]"
    )
    assert said == "{money,{text,[text]},[{money,{number}}]}"


def test_fields_with_equal_readers_share_them() -> None:
    one, other = (parse_job(f"name: a\nfields: {{d: {{type: date, order: {o}}}}}".encode()).fields["d"].locator
                  for o in ("DMY", "DMY"))  # fmt: skip
    assert isinstance(one, LineReader)
    assert one == other
    assert hash(one) == hash(other)
