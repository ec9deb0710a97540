"""What the README says in figures, names and commands holds: jobs, commands, links, limits, exit codes, versions."""

import hashlib
import re
import runpy
import tomllib
from pathlib import Path

import pytest
import typer

from pipeline.core import errors
from pipeline.plugins.formats import titles
from pipeline.schema.job import parse_job
from pipeline.schema.settings import Settings

PROJECT = Path(__file__).parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in sorted((PROJECT / "docs").glob("*.md")))]


def blocks(language: str) -> list[str]:
    text = (PROJECT / "README.md").read_text("utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_job_in_the_readme_loads() -> None:
    jobs = [parse_job(block.encode(), "parking.yaml") for block in blocks("yaml")]
    assert [job.name for job in jobs] == ["parking"]


def test_every_command_that_a_page_names_exists() -> None:
    commands = set(typer.main.get_command(runpy.run_path(str(PROJECT / "run_batch.py"))["app"]).commands)  # type: ignore[attr-defined]
    named = {
        word for page in PAGES for word in re.findall(r"run_batch\.py ([a-z]+)", (PROJECT / page).read_text("utf-8"))
    }
    assert len(named) >= 7
    assert named <= commands


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_that_are_there(page: str) -> None:
    text = (PROJECT / page).read_text("utf-8")
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert ((PROJECT / page).parent / target).exists(), target


def test_the_map_names_every_package_and_nothing_else() -> None:
    text = (PROJECT / "README.md").read_text("utf-8").split("## The map")[1]
    named = set(re.findall(r"`([a-z_/]+/|[a-z_]+\.py)`", text))
    assert {name for name in named if not (PROJECT / name).exists()} == set()
    packages = {f"pipeline/{path.parent.name}/" for path in PROJECT.glob("pipeline/*/__init__.py")}
    assert packages <= named


def test_the_limits_are_the_defaults() -> None:
    text = (PROJECT / "README.md").read_text("utf-8").split("## Limits")[1].split("## The map")[0]
    limits = Settings().limits
    figures = (limits.pages, limits.file_mib, limits.megapixels, limits.seconds, limits.document_seconds)
    words = ("pages", "MiB", "megapixels", "s a window", "s of work")
    flat = " ".join(text.split())
    for figure, word in zip(figures, words, strict=True):
        assert f" {figure:,.0f} {word}" in flat, word


def test_the_exit_codes_are_all_told() -> None:
    text = (PROJECT / "README.md").read_text("utf-8").partition("Exit codes:")[2].partition(".")[0]
    codes = {value for name, value in vars(errors).items() if name.isupper() and isinstance(value, int)}
    assert {int(code) for code in re.findall(r"(?:^|,)\s*(\d+)\s", text)} == codes


def test_the_kinds_of_file_are_those_of_the_registry() -> None:
    line = next(
        line for line in (PROJECT / "README.md").read_text("utf-8").splitlines() if "data/inbox/invoices/ " in line
    )
    assert set(re.findall(r"[A-Z]{3,}", line)) == {
        title.upper() for title in re.findall(r"\w+", titles()) if title != "or"
    }


def test_the_changelog_has_the_version_of_the_project() -> None:
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    newest = re.findall(r"^## (\S+) \(\d{4}-\d\d-\d\d\)$", (PROJECT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)[
        0
    ]
    assert newest == version


def test_the_notice_names_the_models_that_are_here() -> None:
    notice = (PROJECT / "NOTICE").read_text("utf-8")
    for path in PROJECT.glob("pipeline/**/*.onnx"):
        assert str(path.relative_to(PROJECT)) in notice
        assert hashlib.sha256(path.read_bytes()).hexdigest() in notice


def test_nothing_is_left_to_fill_in() -> None:
    assert "@@" not in (PROJECT / "README.md").read_text("utf-8")
