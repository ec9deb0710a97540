"""docs/design.md: its rows are those of import-linter, and every module and path that it names exists."""

import re
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
DOC = (PROJECT / "docs" / "design.md").read_text("utf-8")
PACKAGES = re.findall(r"^\| `(\w+)` \| [^|]+ \| (.+) \|$", DOC, re.MULTILINE)


def test_the_rows_are_those_that_import_linter_checks() -> None:
    config = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    layers = next(each["layers"] for each in config["contracts"] if each.get("containers") == ["pipeline"])
    rows = next(
        block.splitlines() for block in re.findall(r"```\n(.*?)```", DOC, re.DOTALL) if block.startswith("eval")
    )
    assert rows == layers
    assert {name for name, _ in PACKAGES} == {name for row in layers for name in row.split(" | ")}


@pytest.mark.parametrize(("package", "modules"), PACKAGES)
def test_every_module_of_the_table_exists(package: str, modules: str) -> None:
    names = [name for quoted in re.findall(r"`([a-z_/ ]+)`", modules) for name in quoted.split()]
    folder = PROJECT / "pipeline" / package
    assert names or package == "engine"
    assert [name for name in names if not (folder / f"{name}.py").exists() and not (folder / name).is_dir()] == []


def test_every_path_exists() -> None:
    found = re.findall(r"`((?:pipeline|models|web|commands|operations|tests)/[\w./]*)`", DOC)
    assert len(found) > 20
    assert [path for path in found if not (PROJECT / path).exists()] == []
