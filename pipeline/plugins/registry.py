"""Registries of classes by name: built-in ones and those of installed packages (entry points).

Listing names imports nothing. A class is imported when it is requested, so a machine without torch can list the GPU
engine, and a run with the CPU engine never imports it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from typing import Any, Generic, TypeVar

from pipeline.core.errors import ConfigError, Fault
from pipeline.core.suggest import unknown

T = TypeVar("T")
OWN = "scanmill itself"


@dataclass(frozen=True, slots=True)
class _Entry:
    """The place of a class: `value` is "module:Class", `package` its provider, such as "package acme-scan 1.0"."""

    name: str
    value: str
    package: str


class Registry(Generic[T]):
    """The classes of one kind: built-in ones in the order of their table, then those of packages by name.

    `what` is the kind in messages ("engine"), `group` the entry-point group ("scanmill.engines"), `base` the required
    base class, and `built_in` maps names to "module:Class".
    """

    def __init__(self, what: str, group: str, base: type[Any], built_in: Mapping[str, str]) -> None:
        self.what, self.group, self._base, self._built_in = what, group, base, built_in
        self._loaded: dict[str, type[T]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Raises ConfigError where a name is provided twice."""
        return tuple(self._entries)

    @property
    def foreign(self) -> dict[str, str]:
        """Names provided by installed packages, each with its package."""
        return {name: entry.package for name, entry in self._entries.items() if entry.package != OWN}

    def get(self, name: str) -> type[T]:
        """The class of that name. Raises ConfigError where it is unknown, cannot be imported or has another base."""
        if name not in self._loaded:
            if name not in self._entries:
                raise ConfigError([Fault(self.group, None, name, unknown(name, self.names, self.what))])
            self._loaded[name] = self._load(self._entries[name])
        return self._loaded[name]

    def all(self) -> dict[str, type[T]]:
        """Every class, imported. Raises ConfigError as `get`."""
        return {name: self.get(name) for name in self._entries}

    @cached_property
    def _entries(self) -> dict[str, _Entry]:
        found = {name: _Entry(name, value, OWN) for name, value in self._built_in.items()}
        for point in sorted(metadata.entry_points(group=self.group), key=lambda point: (point.name, point.value)):
            package = f"package {point.dist.name} {point.dist.version}" if point.dist else "a package without a name"
            entry = _Entry(point.name, point.value, package)
            if (first := found.setdefault(entry.name, entry)) is not entry:
                both = f"{first.package} ({first.value}) and {entry.package} ({entry.value})"
                raise self._fault(entry, f"{both} bring this {self.what}. Uninstall one of them.")
        return found

    def _load(self, entry: _Entry) -> type[T]:
        try:
            found = metadata.EntryPoint(entry.name, entry.value, self.group).load()
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            raise self._fault(entry, f"{entry.value} cannot be imported ({why}). Repair or uninstall it.") from error
        if not (isinstance(found, type) and issubclass(found, self._base)):
            raise self._fault(entry, f"{entry.value} must be a class that extends {self._base.__name__}.")
        if lacking := sorted(getattr(found, "__abstractmethods__", ())):
            raise self._fault(entry, f"{entry.value} must define {', '.join(lacking)}.")
        return found

    def _fault(self, entry: _Entry, message: str) -> ConfigError:
        return ConfigError([Fault(entry.package, None, f"{self.group}: {entry.name}", message)])
