"""DECISIONS.md gives a reason for every dependency."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[2]


def test_every_dependency_has_a_line() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    names = {Requirement(each).name for each in wanted} - {project["name"]}
    rows = [line for line in (PROJECT / "DECISIONS.md").read_text("utf-8").splitlines() if line.startswith("| ")]
    listed = {word for row in rows for cell in row.split("|")[1:3] for word in re.findall(r"[A-Za-z][\w-]*", cell)}
    assert names - listed == set()
