"""Shared fixtures, markers by folder, and the block of skipped tests at the end of a run."""

import os
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

import pipeline  # noqa: F401 - sets the offline switches before any test imports a library that reads them
from tests.support.skips import skip_lines
from tests.support.waiting import measured_start_s

TESTS = Path(__file__).parent
MARKERS = {"browser": "browser", "gpu": "gpu", "stress": "slow"}  # folder: marker

settings.register_profile("scanmill", deadline=None)  # a busy machine fails no example
settings.load_profile("scanmill")


def pytest_configure(config: pytest.Config) -> None:
    """Let child processes import the project where it is not installed."""
    try:
        version("scanmill")
    except PackageNotFoundError:
        paths = [str(TESTS.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Set the marker of a folder on every test in it."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""
        if folder in MARKERS:
            item.add_marker(MARKERS[folder])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was skipped and why."""
    reports = terminalreporter.getreports("skipped")
    if reports:
        terminalreporter.section(f"{len(reports)} skipped, and why")
        for line in skip_lines(reports):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of labelled document sets; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("SCANMILL_DATA", TESTS.parents[1] / "shared" / "data"))
    if not (folder / "README.md").is_file():
        pytest.skip("needs the labelled document sets in ../shared/data (or set SCANMILL_DATA)")
    return folder


@pytest.fixture(scope="module")
def start_s() -> float:
    """Seconds that a Python process needs to start, measured before the tests of each module that scale by it."""
    return measured_start_s()


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    """A browser; tests that need it skip where there is none."""
    from tests.support.browsing import browser

    with browser() as opened:
        yield opened
