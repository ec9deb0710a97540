"""Figures in docs/*.md are those of the code: each case is a sentence with the value of a constant put in."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from pipeline.schema.fields import FIELD_TYPES
from pipeline.schema.job import Job

DOCS = Path(__file__).parents[2] / "docs"
CONSTANTS = [
    ("operations.md", "A login lasts {0} hours", "web.auth.logins", "LIFETIME_S", 3600),
    ("operations.md", "no whole request after {0} s", "web.auth.connections", "HEADERS_S", 1),
    ("operations.md", "one address has {0} connections at most", "web.auth.connections", "MAX_PER_CLIENT", 1),
    ("jobs.md", "one of more than {0:,} is null", "pipeline.schema.fields.long_text", "MOST_CHARACTERS", 1),
    ("jobs.md", "or GB18030, up to {0} KiB", "pipeline.inbox.question_files", "QUESTION_BYTES", 1024),
    ("design.md", "progress has {0} s (`GRACE_S`)", "pipeline.runs.scheduler", "GRACE_S", 1),
    ("design.md", "While {0} events wait", "pipeline.runs.scheduler", "MAX_PENDING_EVENTS", 1),
    ("design.md", "when {0:,} documents wait", "pipeline.storage.job_table", "MAX_PENDING", 1),
    ("design.md", "matches the first {0:,} bytes", "pipeline.plugins.formats", "HEAD_BYTES", 1),
]
DEFAULTS = [
    ("`max_length` is {} characters unless", FIELD_TYPES["text"].model_fields["max_length"].default),
    ("longer than `max_length` ({:,} characters)", FIELD_TYPES["prose"].model_fields["max_length"].default),
    ("`max_items` ({}) bounds one answer", FIELD_TYPES["list"].model_fields["max_items"].default),
    ("(0 to 1) are `doubtful` | {} |", Job.model_fields["review_below"].default),
]


def flat(page: str) -> str:
    return " ".join((DOCS / page).read_text("utf-8").split())


@pytest.mark.parametrize(("page", "sentence", "module", "name", "unit"), CONSTANTS, ids=[each[3] for each in CONSTANTS])
def test_a_constant(page: str, sentence: str, module: str, name: str, unit: int) -> None:
    assert sentence.format(int(getattr(import_module(module), name) // unit)) in flat(page)


@pytest.mark.parametrize(("sentence", "value"), DEFAULTS)
def test_a_default(sentence: str, value: Any) -> None:
    assert sentence.format(value) in flat("jobs.md")
