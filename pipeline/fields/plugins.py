"""Field types that installed packages bring, by entry points of the group `scanmill.fields`."""

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

from pipeline.fields.field import Field

GROUP = "scanmill.fields"


def installed(own: Mapping[str, type[Field]]) -> dict[str, type[Field]]:
    """The types by name. Raises ImportError, with the name of the package, for what is no field type or has the name
    of one of `own` or of another package's.
    """
    found: dict[str, type[Field]] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        if entry.name in own or entry.name in found:
            raise ImportError(
                f"{_source(entry)}: there is a field type of that name already. Rename it, or uninstall it."
            )
        found[entry.name] = _loaded(entry)
    return found


def _loaded(entry: EntryPoint) -> type[Field]:
    try:
        kind = entry.load()
    except Exception as error:
        raise ImportError(f"{_source(entry)} cannot be loaded: {error}. Mend the package, or uninstall it.") from error
    if not (isinstance(kind, type) and issubclass(kind, Field)):
        raise ImportError(f"{_source(entry)}: {entry.value} is not a subclass of pipeline.fields.Field.")
    if (name := kind.model_fields["type"].default) != entry.name:
        raise ImportError(f"{_source(entry)}: its class has the type {name!r}. Give both the same name.")
    return kind


def _source(entry: EntryPoint) -> str:
    return f"The field type {entry.name} of the package {entry.dist.name if entry.dist else entry.module}"
