"""docs/jobs.md is executed: its jobs load, its examples read as it says, and it leaves no key or type out."""

import json
import re
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline.fields import FIELD_TYPES
from pipeline.fields.names import BOOKKEEPING
from pipeline.job import Job, parse_job

DOC = (Path(__file__).parents[1] / "docs" / "jobs.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##)", DOC, re.MULTILINE | re.DOTALL))
EXAMPLE = re.compile(r"```yaml\n(.*?)```\n\n\| printed \| value \|\n\|---\|---\|\n((?:\|[^\n]*\|\n)+)", re.DOTALL)
ROW = re.compile(r"^\| `(.*)` \| (?:`(.*)`|(null)) \|$", re.MULTILINE)
CASES = [
    pytest.param(name, yaml, printed, value or None, id=f"{name}: {printed}")
    for name, text in SECTIONS.items()
    for yaml, rows in EXAMPLE.findall(text)
    for printed, value, _ in ROW.findall(rows)
]


def told(value: Any) -> str | None:
    """A value as the page writes it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | dict | list):
        return json.dumps(value, ensure_ascii=False, default=told)
    assert isinstance(value, int | float | Decimal | date | time)
    return str(value)


@pytest.mark.parametrize(("name", "yaml", "printed", "value"), CASES)
def test_the_value_is_what_the_page_says(name: str, yaml: str, printed: str, value: str | None) -> None:
    job = parse_job(f"name: a\nfields:\n  {yaml}".encode())
    (field,) = job.fields.values()
    assert field.type == name
    answer = json.loads(printed) if name in ("box", "group", "list") else printed
    got = field.coerce(answer)
    assert told(got.value) == value
    assert bool(got.problems) is (value is None and printed != "null")


def test_every_row_of_every_example_is_tried() -> None:
    rows = sum(line.startswith("| `") for text in SECTIONS.values() for line in text.splitlines())
    assert rows == len(CASES)


def test_every_type_has_its_section_in_the_order_of_the_table() -> None:
    assert list(SECTIONS) == list(FIELD_TYPES)


@pytest.mark.parametrize(
    "text", re.findall(r"```yaml\n(name:.*?)```", DOC, re.DOTALL), ids=lambda text: text.split("\n")[0]
)
def test_the_whole_jobs_load(text: str) -> None:
    assert parse_job(text.encode()).rules


def test_every_key_is_explained() -> None:
    of_jobs, _, rest = DOC.partition("## The keys of a job")[2].partition("## The keys of every field")
    assert re.findall(r"^\| `(\w+)` \|", of_jobs, re.MULTILINE) == list(Job.model_fields)
    common = re.findall(r"^\| `(\w+)` \|", rest.partition("## The types")[0], re.MULTILINE)
    for name, kind in FIELD_TYPES.items():
        for key in kind.model_fields:
            assert key in common or re.search(rf"`{key}\b|\b{key}:", DOC), f"{name}: {key}"


def test_the_names_that_are_taken_are_listed() -> None:
    listed = DOC.partition("so these names are taken:")[2].partition(".\n")[0]
    assert tuple(re.findall(r"`(\w+)`", listed)) == BOOKKEEPING
