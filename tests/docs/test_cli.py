"""docs/cli.md is what the commands say of themselves."""

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_as_the_commands_are() -> None:
    written = runpy.run_path(str(DOCS / "write_cli.py"))["written"]()
    assert written == (DOCS / "cli.md").read_text("utf-8"), "run: python docs/write_cli.py"


def test_every_option_and_command_says_what_it_does() -> None:
    page = (DOCS / "cli.md").read_text("utf-8")
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) > 30
    assert all(what.strip() for _, what, _ in rows)
