"""docs/errors.md tells every code that the program has, in the program's own words, and no other."""

import runpy
from pathlib import Path
from typing import Any

import pytest

from pipeline.core import errors
from pipeline.core.types import ISSUES

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def writer() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "write_errors.py"))


@pytest.fixture(scope="module")
def page() -> str:
    return (DOCS / "errors.md").read_text("utf-8")


def test_the_tables_are_as_the_code_has_them(writer: dict[str, Any], page: str) -> None:
    assert writer["written"](page) == page, "run: python docs/write_errors.py"


def test_every_exit_code_is_told(writer: dict[str, Any], page: str) -> None:
    codes = {value for name, value in vars(errors).items() if name.isupper() and isinstance(value, int)}
    raised = {each.exit_code for each in vars(errors).values() if isinstance(each, type) and hasattr(each, "exit_code")}
    told = [int(row[0]) for row in writer["rows"](page, "exit codes")]
    assert told == sorted(codes)
    assert raised <= codes


def test_every_document_error_and_issue_says_what_to_do(writer: dict[str, Any], page: str) -> None:
    for name, codes in (("document errors", errors.DOCUMENT_ERRORS), ("issues", ISSUES)):
        rows = writer["rows"](page, name)
        assert [row[0].strip("`") for row in rows] == list(codes)
        assert all(len(row) == 3 and all(row) for row in rows)


def test_a_code_that_the_page_does_not_know_changes_the_page(
    writer: dict[str, Any], page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ISSUES, "brand_new", "Something new.")
    assert "| `brand_new` | Something new. |  |" in writer["written"](page)


def test_a_lost_marker_is_told(writer: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="lost its marker"):
        writer["written"]("# nothing here")
