"""docs/jobs.md is executed: its jobs load, its examples read as it says, and it leaves no key or type out."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.geometry import Affine
from pipeline.core.types import Document, Page
from pipeline.engine import Reply
from pipeline.extraction import prompt
from pipeline.extraction.extract import extract
from pipeline.schema.fields import FIELD_TYPES, leaves
from pipeline.schema.fields.field_names import BOOKKEEPING
from pipeline.schema.job import Job, load_jobs, parse_job
from pipeline.storage import record_json

PROJECT = Path(__file__).parents[2]
DOC = (PROJECT / "docs" / "jobs.md").read_text(encoding="utf-8")
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


# --- the shipped jobs

SHIPPED = {job.name: job for job in load_jobs(PROJECT / "jobs")}
TRUTH = [json.loads(line) for line in (PROJECT / "samples" / "truth.jsonl").read_text("utf-8").splitlines()]
ABOUT = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##)", DOC.partition("## The shipped jobs")[2], re.MULTILINE | re.DOTALL))


def known_answers(job: Job, file: str) -> dict[str, Any]:
    """What the JSON record of a sample says where the engine reads it without a mistake."""
    (line,) = [line for line in TRUTH if line["job"] == job.name and line["file"] == file]
    said = line["fields"] | line["norm"]
    document = Document("ab" * 32, file, Path(file), job.inbox, datetime(2025, 6, 1, tzinfo=UTC), 1)
    page = Page(1, 4000, 4000, Affine())
    only = next(iter(said.values()))
    text = only if len(said) == 1 and isinstance(only, str) else json.dumps(said)
    number = 1 if job.per == "page" else None
    record = extract(job, document, number, [Reply(prompt.ask(job, document, [page]), text, "stop")])
    return dict(json.loads(record_json.to_json(record))["data"])


def strings(value: Any) -> Iterator[str]:
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]:
        yield from [each] if isinstance(each, str) else strings(each) if isinstance(each, dict | list) else []


def test_every_shipped_job_is_listed_with_its_inbox_and_has_a_section() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| [^|]+ \| `(\w+)` \| (CPU|GPU) \|$", DOC.partition("## The shipped jobs")[2], re.MULTILINE
    )
    assert {name: inbox for name, inbox, _ in rows} == {job.name: job.inbox for job in SHIPPED.values()}
    looks = {name for name, job in SHIPPED.items() for _, leaf in leaves(job.fields)
             if not leaf.readable}  # fmt: skip
    assert {name for name, _, engine in rows if engine == "GPU"} == looks
    assert set(ABOUT) == set(SHIPPED)


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_what_the_page_prints_of_a_sample_is_its_known_answer(name: str) -> None:
    text = ABOUT[name]
    assert f"(../jobs/{name}.yaml)" in text
    (sample, *_) = re.findall(r"\(\.\./samples/([^)]+)\)", text)
    known = known_answers(SHIPPED[name], sample)
    shown = re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert shown
    for kind, block in shown:
        if kind == "json":
            said = json.loads(block)
            assert said == {key: known[key] for key in said}
        else:
            whole = " ".join(" ".join(strings(known)).split())
            assert " ".join(block.split()) in whole
