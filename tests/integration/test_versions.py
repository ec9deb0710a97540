"""The pins in constraints.txt: complete, within the bounds of pyproject.toml, and used by all that installs."""

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata
from itertools import pairwise
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from operations import bundle
from operations.bundle_manifest import BundleError
from operations.progress import Steps

PROJECT = Path(__file__).parents[2]
TOLD = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
MACHINES = [
    {"python_version": python, "python_full_version": f"{python}.4", "implementation_name": "cpython",
     "platform_python_implementation": "CPython", "sys_platform": platform, "platform_machine": processor,
     "platform_system": {"linux": "Linux", "darwin": "Darwin"}[platform], "os_name": "posix"}
    for python in ("3.11", "3.12", "3.13")
    for platform, processor in (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"))
]  # fmt: skip
UNPINNED = {"torch", "setuptools", "scanmill"}  # see the Makefile


def pins(*names: str) -> Iterator[Requirement]:
    for name in names:
        lines = (line.partition("#")[0].strip() for line in (PROJECT / name).read_text("utf-8").splitlines())
        yield from map(Requirement, filter(None, lines))


def asked() -> list[Requirement]:
    extras = [line for lines in TOLD["optional-dependencies"].values() for line in lines]
    return [Requirement(line) for line in (*TOLD["dependencies"], *extras)]


def holds(requirement: Requirement, machine: dict[str, str]) -> bool:
    return requirement.marker is None or requirement.marker.evaluate(machine)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda each: f"{each['python_version']} {each['platform_machine']}")
def test_every_package_has_one_pin_that_fits_on_every_machine(machine: dict[str, str]) -> None:
    found = [each for each in pins("constraints.txt") if holds(each, machine)]
    versions = {canonicalize_name(each.name): str(each.specifier).removeprefix("==") for each in found}
    assert len(versions) == len(found) > 80
    for need in asked():
        if need.name not in UNPINNED and holds(need, machine):
            assert need.specifier.contains(versions[canonicalize_name(need.name)]), f"{need}: run make lock"


def test_pins_that_are_installed_here_are_for_every_python_that_they_are_pinned_for() -> None:
    """uv takes no notice of an upper bound in Requires-Python, and pip does."""
    checked, wrong = 0, []
    for pin in pins("constraints.txt"):
        try:
            found = metadata(pin.name)
        except PackageNotFoundError:
            continue
        if not pin.specifier.contains(found["Version"]):
            continue
        checked += 1
        supported = SpecifierSet(found.get("Requires-Python") or "")
        wrong += [(str(pin), machine["python_version"]) for machine in MACHINES
                  if holds(pin, machine) and not supported.contains(machine["python_full_version"])]  # fmt: skip
    assert checked > 20
    assert wrong == []


def test_pins_name_no_host_and_bring_no_cuda() -> None:
    text = (PROJECT / "constraints.txt").read_text("utf-8")
    assert "://" not in text
    assert "--" not in text
    names = {canonicalize_name(each.name) for each in pins("constraints.txt")}
    assert not [name for name in names if name in UNPINNED or name.startswith(("nvidia", "cuda", "triton"))]
    assert all(
        re.fullmatch(r"==[\w.+]+", str(each.specifier)) for each in pins("constraints.txt", "constraints-gpu.txt")
    )


def test_the_torch_that_is_pinned_is_one_that_may_be_taken() -> None:
    (torch,) = pins("constraints-gpu.txt")
    version = str(torch.specifier).removeprefix("==")
    needs = [need for need in asked() if need.name == "torch"]
    assert needs
    assert all(need.specifier.contains(version) for need in needs)


def test_a_bundle_is_gathered_with_the_pins(tmp_path: Path) -> None:
    """With a Python that notes what pip is asked for, and fetches nothing."""
    python, noted = tmp_path / "python", tmp_path / "noted"
    python.write_text(
        f'#!/bin/sh\nif [ "$2" = pip ]; then printf "%s\\n" "$@" > {noted}; exit 1; fi\nexec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    with Steps() as steps, pytest.raises(BundleError):
        bundle.gather(PROJECT, tmp_path / "bundle", ["web"], None, python, ["--quiet"], steps)
    words = noted.read_text().splitlines()
    given = [after for word, after in pairwise(words) if word == "--constraint"]
    assert given == [str(PROJECT / "constraints.txt"), str(PROJECT / "constraints-gpu.txt")]
    assert {"constraints.txt", "constraints-gpu.txt"} <= set(bundle.project_files(PROJECT))


def test_every_command_that_installs_the_project_uses_the_pins() -> None:
    places = ["README.md", ".ci/run", *(f"docs/{path.name}" for path in (PROJECT / "docs").glob("*.md"))]
    places += [path.relative_to(PROJECT).as_posix() for name in ("operations", "models", "web", "pipeline")
               for path in (PROJECT / name).rglob("*.py")]  # fmt: skip
    lines = [line for place in places for line in (PROJECT / place).read_text("utf-8").splitlines()]
    installs = [line for line in lines if re.search(r"pip install .*-e ", line)]
    assert len(installs) > 5
    assert [line for line in installs if "-c constraints.txt" not in line] == []
