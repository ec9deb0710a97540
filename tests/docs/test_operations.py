"""docs/operations.md: limits are the defaults, metrics and commands exist, examples of configs load."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from pipeline.reporting.metrics import Metrics
from pipeline.reporting.run_report import RunReport
from pipeline.schema.settings import Settings, load_settings

PROJECT = Path(__file__).parents[2]
DOC = (PROJECT / "docs" / "operations.md").read_text("utf-8")


def test_the_limits_are_the_defaults() -> None:
    table = DOC.partition("## What a document may cost")[2].partition("## ")[0]
    told = {name: float(value) for name, value in re.findall(r"^\| `(\w+)` \| (\d+) \|", table, re.MULTILINE)}
    assert told == Settings().limits.model_dump()


def test_the_commands_that_break_something_exist() -> None:
    named = set(re.findall(r"python (tests/stress/\w+\.py|benchmarks/\w+\.py)", DOC))
    assert len(named) >= 8
    assert {path for path in named if not (PROJECT / path).exists()} == set()


def test_the_configs_that_it_shows_load(tmp_path: Path) -> None:
    shown = re.findall(r"```yaml\n(.*?)```", DOC, re.DOTALL)
    assert shown
    for number, text in enumerate(shown):
        (tmp_path / f"{number}.yaml").write_text(text)
        load_settings(tmp_path / f"{number}.yaml")


def test_the_metrics_are_all_there(tmp_path: Path) -> None:
    """Counters end with `_total`; samples without labels appear once a batch has ended."""
    path = tmp_path / "scanmill.prom"
    Metrics(path, dict).ended(RunReport("echo"))
    written = {family.name for family in text_string_to_metric_families(path.read_text("utf-8"))}
    written = {name for name in written if not name.endswith("_created")}
    told = {name.removesuffix("_total") for name in re.findall(r"`(scanmill_\w+?)(?:\{[\w,]+\})?`", DOC)}
    assert told == written
