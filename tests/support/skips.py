"""The block at the end of a test run: what was skipped, grouped by reason."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

import pytest


def skip_lines(reports: Iterable[pytest.TestReport | pytest.CollectReport]) -> Iterator[str]:
    """One line a reason, most tests first, each followed by the files that it concerns."""
    groups: dict[str, list[str]] = defaultdict(list)
    for report in reports:
        groups[_reason(report)].append(report.nodeid.partition("::")[0])
    for reason, files in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])):
        yield f"{len(files):5}  {reason}"
        yield f"       in {', '.join(sorted(set(files)))}"


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    said = report.longrepr
    words = str(said[2]) if isinstance(said, tuple) else str(said)
    return " ".join(words.removeprefix("Skipped: ").split()) or "no reason given"
