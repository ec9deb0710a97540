"""Field types that installed packages bring, by entry points of the group `scanmill.fields`."""

from collections.abc import Collection
from importlib.metadata import EntryPoint, entry_points

from pipeline.core.errors import Fault
from pipeline.schema.fields.base import Field

GROUP = "scanmill.fields"


def installed(taken: Collection[str]) -> tuple[dict[str, type[Field]], list[Fault]]:
    """The types by name, and what is wrong with those that cannot be used; names that are `taken` cannot."""
    found: dict[str, type[Field]] = {}
    faults: list[Fault] = []
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            if entry.name in taken or entry.name in found:
                raise ValueError("there is a field type of that name already")
            found[entry.name] = _loaded(entry)
        except Exception as error:  # noqa: BLE001 - a package may raise anything while it is imported
            source = f"package {entry.dist.name}" if entry.dist else entry.module
            faults.append(Fault(source, None, entry.name, f"{error}; mend or uninstall the package"))
    return found, faults


def _loaded(entry: EntryPoint) -> type[Field]:
    kind = entry.load()
    if not (isinstance(kind, type) and issubclass(kind, Field)):
        raise TypeError(f"{entry.value} is not a subclass of pipeline.schema.fields.Field")
    if (name := kind.model_fields["type"].default) != entry.name:
        raise ValueError(f"its class has the type {name!r}, which must be the name of the entry point")
    return kind
