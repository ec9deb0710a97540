"""The settings model and its loading: one YAML file in configs/, and overrides of the command line."""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Literal

from pydantic import Field as Key
from pydantic import IPvAnyNetwork, ValidationError, field_validator

from pipeline.core.errors import ConfigError
from pipeline.core.suggest import unknown
from pipeline.plugins import sinks
from pipeline.plugins.engines import AUTO, ENGINES
from pipeline.schema import yaml_source
from pipeline.schema.fields import Closed, Text


class Limits(Closed):
    """Limits of one document. Beyond them the document fails, and the run continues."""

    file_mib: float = Key(default=4096, gt=0)
    pages: int = Key(default=5000, ge=1)
    megapixels: float = Key(default=300, gt=0)
    seconds: float = Key(default=120, gt=0)
    document_seconds: float = Key(default=10_800, gt=0)
    memory_mib: int = Key(default=2048, ge=256)


class Web(Closed):
    """The web page. `password` is the line that `run_batch.py web --set-password` prints, never the password.

    `proxies` are the addresses or networks that may connect with --behind-proxy. `hosts` are the allowed host names of
    the page; empty: any.
    """

    password: str | None = Key(default=None, pattern=r"^scrypt(\$\d{1,2}){3}(\$[A-Za-z0-9+/]+=*){2}$")
    upload_mib: float = Key(default=200, gt=0)
    proxies: tuple[IPvAnyNetwork, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
    hosts: tuple[Text, ...] = ()


class Settings(Closed):
    """Paths are relative to the current folder. `workers` None means one a core."""

    root: Path = Path("data")
    jobs: Path = Path("jobs")
    engine: Text = AUTO
    weights: Path = Path("models/qwen2.5-vl-7b-instruct")
    vram_gib: float | None = Key(default=None, gt=0)
    low_resolution: bool = False
    engine_step_s: float = Key(default=120.0, gt=0)
    engine_start_s: float = Key(default=600.0, gt=0)
    workers: int | None = Key(default=None, ge=1, le=1024)
    limits: Limits = Limits()
    passwords: tuple[Text, ...] = ()
    settle_s: float = Key(default=2.0, ge=0)
    poll: bool = False
    rescan_s: float = Key(default=30.0, gt=0)
    idle_unload_minutes: float | None = Key(default=30.0, gt=0)
    sinks: tuple[str, ...] = sinks.DEFAULT
    log: Literal["text", "json"] = "text"
    metrics: Path | None = None
    web: Web = Web()

    @field_validator("engine")
    @classmethod
    def _is_known(cls, engine: str) -> str:
        """Raises ValueError; ConfigError where two installed packages provide the same engine."""
        if engine not in (known := (AUTO, *ENGINES.names)):
            what = unknown(engine, known, "engine").removeprefix("unknown engine; ")
            raise ValueError(f'"{engine}" is not allowed; {what}')
        return engine

    @field_validator("sinks")
    @classmethod
    def _can_be_used(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if "parquet" not in names:
            raise ValueError("must name parquet, which the Review list and its exports read; others may be added")
        for name in names:
            if name not in sinks.SINKS.names:
                raise ValueError(f'"{name}": {unknown(name, sinks.SINKS.names, "sink")}')
            try:
                missing = sinks.SINKS.get(name).missing()
            except ConfigError as error:  # of an installed package
                raise ValueError(str(error)) from error
            if missing:
                raise ValueError(f"{name}: {missing}")
        return tuple(dict.fromkeys(names))


def load_settings(path: Path | None, **overrides: Any) -> Settings:
    """The settings of a file (None: the defaults). Overrides that are None are ignored. Raises ConfigError."""
    source = yaml_source.read(path, may_be_empty=True) if path else yaml_source.Source("settings", {}, {})
    given = {key: value for key, value in overrides.items() if value is not None}
    try:
        return Settings.model_validate({**source.data, **given})
    except ValidationError as error:
        faults = yaml_source.validation_faults(error, source, _keys_at)
        raise ConfigError(
            [replace(fault, file="command line", line=None) if fault.key in given else fault for fault in faults]
        ) from None


def _keys_at(place: yaml_source.Place, around: Mapping[str, Any]) -> list[str]:
    parts: dict[yaml_source.Place, type[Closed]] = {("limits",): Limits, ("web",): Web}
    return list(parts.get(place, Settings).model_fields)
