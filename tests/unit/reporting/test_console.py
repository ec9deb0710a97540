"""What documents say is shown, and never obeyed, by the terminal."""

from decimal import Decimal
from pathlib import Path

import pytest

from pipeline.core.types import Record
from pipeline.reporting.console import Screen, show_records
from pipeline.reporting.run_report import RunReport
from pipeline.schema.job import parse_job
from tests.support import builders
from tests.support.builders import document

JOB = parse_job(
    b"name: note\nfields: {place: {type: text}, total: {type: money}, parts: {type: list, item: {type: text}}}\n"
)


def record(name: str, **data: object) -> Record:
    return builders.record(data, document=document(name, "note"))


@pytest.mark.parametrize("hostile", ["[/]x.pdf", "[red]x", "a[/b]" * 9, "\x1b[2Jx", "\udcff.pdf", "\u202egpj.exe"])
def test_markup_and_control_codes_stay_text(hostile: str, capsys: pytest.CaptureFixture[str]) -> None:
    show_records(JOB, [record(hostile, place=hostile, total=Decimal("1.50"), parts=[hostile, "b"])])
    said = capsys.readouterr().out
    assert "1.50" in said
    assert "\x1b[2J" not in said
    assert "\u202e" not in said
    assert said.count(hostile[:5]) >= 1 or not hostile.isprintable() or "\udcff" in hostile


def test_a_long_text_is_cut_and_columns_that_do_not_fit_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    wide = parse_job(("name: w\nfields: {" + ", ".join(f"f{n}: {{type: text}}" for n in range(12)) + "}\n").encode())
    show_records(wide, [record("a.pdf", **{f"f{n}": "北" * 40 for n in range(12)})])
    said = capsys.readouterr().out
    assert "北…" in said
    assert "+8" in said
    assert max(map(len, said.splitlines())) <= 160


def test_lines_of_a_text_stand_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    show_records(JOB, [record("a.pdf", place="one\n\ntwo", parts=["x\ny"])])
    said = capsys.readouterr().out
    assert "one two" in said
    assert "x y" in said


def test_of_thousands_that_could_not_be_taken_some_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    run_report = RunReport("echo", stuck=[f"inbox/note/{number}.pdf: no right" for number in range(10_000)])
    Screen().report(run_report, Path("data"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "inbox/note/0.pdf: no right"
    assert lines[-1] == "… and 9980 more in the JSON file of the report."
    assert len(lines) == 21
