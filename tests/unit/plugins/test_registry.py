"""The registry: built-ins without an import, classes of installed packages, and errors that name package and entry."""

from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from pipeline.core.errors import ConfigError
from pipeline.plugins.registry import Registry
from tests.support.packages import installed

GROUP = "scanmill.tools"


class Tool(ABC):
    @abstractmethod
    def use(self) -> str: ...


class Hammer(Tool):
    def use(self) -> str:
        return "bang"


BUILT_IN = {"hammer": f"{__name__}:Hammer", "laser": "a_module_that_is_not_here:Laser"}


def tools(built_in: dict[str, str] = BUILT_IN) -> Registry[Tool]:
    return Registry("engine", GROUP, Tool, built_in)


def fault(caught: "pytest.ExceptionInfo[ConfigError]") -> str:
    (only,) = caught.value.faults
    return str(only)


def test_names_are_listed_without_an_import() -> None:
    assert tools().names == ("hammer", "laser")
    assert tools().get("hammer")().use() == "bang"


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        tools().get("hamer")
    assert fault(caught) == "scanmill.tools: hamer: unknown engine; did you mean hammer?"


def test_an_installed_package_brings_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = "from tests.unit.plugins.test_registry import Tool\nclass Saw(Tool):\n    def use(self): return 'zzz'\n"
    installed(tmp_path, "acme-saw", {GROUP: {"saw": "acme_saw_1:Saw"}}, {"acme_saw_1.py": module})
    monkeypatch.syspath_prepend(tmp_path)
    found = tools()
    assert found.names == ("hammer", "laser", "saw")
    assert found.get("saw")().use() == "zzz"


def test_a_clash_names_both_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, "acme-hammer", {GROUP: {"hammer": "acme:Hammer"}}, {}, "2.1")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError) as caught:
        tools().get("laser")
    assert fault(caught) == (
        "package acme-hammer 2.1: scanmill.tools: hammer: scanmill itself ("
        f"{__name__}:Hammer) and package "
        "acme-hammer 2.1 (acme:Hammer) bring this engine. Uninstall one of them."
    )


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("import nothing_of_this_name", "cannot be imported (ModuleNotFoundError: No module named 'nothing_of_this"),
        ("1 / 0", "cannot be imported (ZeroDivisionError: division by zero). Repair or uninstall it."),
        ("", "cannot be imported (AttributeError: "),
        ("Saw = 3", "acme_saw_{n}:Saw must be a class that extends Tool."),
        ("class Saw: pass", "acme_saw_{n}:Saw must be a class that extends Tool."),
        (
            "from tests.unit.plugins.test_registry import Tool\nclass Saw(Tool): pass",
            "acme_saw_{n}:Saw must define use.",
        ),
    ],
    ids=range(2, 8),
)
def test_an_entry_that_cannot_be_used_names_package_and_entry(
    module: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    number = request.node.callspec.id
    points = {GROUP: {"saw": f"acme_saw_{number}:Saw"}}
    installed(tmp_path, "acme-saw", points, {f"acme_saw_{number}.py": module})
    monkeypatch.syspath_prepend(tmp_path)
    assert tools().get("hammer") is Hammer, "the others still work"
    with pytest.raises(ConfigError) as caught:
        tools().get("saw")
    assert fault(caught).startswith("package acme-saw 1.0: scanmill.tools: saw: ")
    assert said.format(n=number) in fault(caught)
