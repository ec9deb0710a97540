"""What all tests share: where the labelled sets lie, a browser, and that a busy machine fails no example for it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

import pipeline  # noqa: F401 - sets the offline switches before any test imports a library that reads them

settings.register_profile("scanmill", deadline=None)
settings.load_profile("scanmill")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of labelled document sets; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("SCANMILL_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
    if not (folder / "README.md").is_file():
        pytest.skip(f"needs the labelled document sets; none at {folder} (set SCANMILL_DATA)")
    return folder


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    """A browser; tests that need it skip where there is none."""
    from tests.support.browsing import browser

    with browser() as opened:
        yield opened
