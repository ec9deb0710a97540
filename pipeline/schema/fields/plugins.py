"""Field types of installed packages: entry points of the group `scanmill.fields`, each named as its type."""

from collections.abc import Mapping

from pipeline.core.errors import ConfigError, Fault
from pipeline.plugins.registry import Registry
from pipeline.schema.fields.base import Field

GROUP = "scanmill.fields"


def installed(built_in: Mapping[str, type[Field]]) -> tuple[dict[str, type[Field]], list[Fault]]:
    """The types by name, and a fault for each that cannot be used. None is returned where a name is taken twice."""
    table = {name: f"{kind.__module__}:{kind.__qualname__}" for name, kind in built_in.items()}
    registry: Registry[Field] = Registry("field type", GROUP, Field, table)
    found: dict[str, type[Field]] = {}
    faults: list[Fault] = []
    try:
        packages = registry.foreign
    except ConfigError as error:
        return {}, error.faults
    for name, package in packages.items():
        try:
            kind = registry.get(name)
        except ConfigError as error:
            faults += error.faults
            continue
        if (own := kind.model_fields["type"].default) == name:
            found[name] = kind
        else:
            why = f"its class has the type {own!r}, which must be the name of the entry point."
            faults.append(Fault(package, None, f"{GROUP}: {name}", why))
    return found, faults
