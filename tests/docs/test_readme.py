"""What the README says can be done: its job loads, its commands exist, its links lead somewhere."""

import re
import runpy
from pathlib import Path

import pytest
import typer

from pipeline.schema.job import parse_job

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


def test_the_map_names_what_is_there() -> None:
    text = (PROJECT / "README.md").read_text("utf-8").split("## The map")[1]
    for name in re.findall(r"`([a-z_]+/|[a-z_]+\.py)`", text):
        assert (PROJECT / name).exists() or (PROJECT / "models" / name).exists(), name


def test_nothing_is_left_to_fill_in() -> None:
    assert "@@" not in (PROJECT / "README.md").read_text("utf-8")
