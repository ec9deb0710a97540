"""What all tests share: where the labelled sets lie, and nothing more."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of labelled document sets; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("SCANMILL_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
    if not (folder / "README.md").is_file():
        pytest.skip(f"needs the labelled document sets; none at {folder} (set SCANMILL_DATA)")
    return folder
