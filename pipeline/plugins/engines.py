"""The registry of engines, and the choice of the engine of a run."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pipeline.core.check_result import CheckResult
from pipeline.core.errors import ConfigError, ModelError
from pipeline.plugins.registry import Registry

if TYPE_CHECKING:
    from pipeline.engine import Engine
    from pipeline.schema.job import Job
    from pipeline.schema.settings import Settings

AUTO = "auto"  # value of `engine` in the config: take the first available engine of AUTO_ORDER
AUTO_ORDER = ("qwen_vl", "ocr")

Begin = Callable[[str, int], Callable[[int], None]]  # (name, size in bytes) of a file -> callback for bytes read


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether an engine can run here, and the reason: "there is no GPU"."""

    here: bool
    why: str = ""

    def __bool__(self) -> bool:
        return self.here


class Unavailable(ModelError):
    """Raised by `open` where only the start shows that the engine is not available; `auto` then tries the next."""


@dataclass(frozen=True, slots=True)
class CheckContext:
    """Input of an engine's check. `published`: SHA-256 of weights files by name, from their bundle.

    `begin` shows the progress of reading large files.
    """

    settings: "Settings"
    published: Mapping[str, str]
    begin: Begin


class EngineFactory(ABC):
    """One kind of engine. It has class methods only and is never instantiated.

    Its module must import fast: the class is imported whenever engines are listed. `name` is its name in ENGINES and
    the `name` of the engine that `open` returns. `extra` is the extra of pyproject.toml that it needs. `only_reads`: it
    answers a question with the text of the page.
    """

    name: ClassVar[str]
    extra: ClassVar[str] = ""
    only_reads: ClassVar[bool] = False

    @classmethod
    def available(cls, settings: "Settings") -> Availability:
        """Whether it can run here, as far as is known without loading anything."""
        return Availability(True)

    @classmethod
    def check(cls, context: CheckContext) -> Iterator[CheckResult]:
        """Results for `run_batch.py doctor`."""
        yield from ()

    @classmethod
    def unsupported_reason(cls, job: "Job") -> str | None:
        """Why it cannot answer the job, as far as is known before it is started; None where it can or may."""
        return None

    @classmethod
    @abstractmethod
    def open(cls, settings: "Settings") -> "Engine":
        """Start the engine. Raises ModelError where it cannot run, Unavailable where `auto` may try the next."""

    @classmethod
    def description(cls, settings: "Settings", because: str | None) -> str:
        """The first line of a run. `because`: why the engines before it in AUTO_ORDER cannot run; None where the config
        names this engine."""
        return f"The engine {cls.name} reads, " + (f"because {because}." if because else "as the config asks.")


ENGINES: Registry[EngineFactory] = Registry(
    "engine",
    "scanmill.engines",
    EngineFactory,
    {
        "ocr": "models.ocr.factory:OcrFactory",
        "qwen_vl": "models.qwen_vl.factory:QwenVLFactory",
        "echo": "models.scripted.factory:EchoFactory",
    },
)


def choose(settings: "Settings") -> tuple[type[EngineFactory], str]:
    """The engine that a run would use, and why, without starting it. Raises ConfigError."""
    if settings.engine != AUTO:
        return ENGINES.get(settings.engine), "the config asks for it"
    why = ""
    for name in AUTO_ORDER:
        available = (factory := ENGINES.get(name)).available(settings)
        why = why or available.why
        if available:
            break
    return factory, why


def load(settings: "Settings") -> tuple["Engine", str]:
    """Start the engine of the settings; returns it and a sentence about the choice. Raises ModelError, ConfigError."""
    if settings.engine != AUTO:
        factory = ENGINES.get(settings.engine)
        return factory.open(settings), factory.description(settings, None)
    reasons: list[str] = []
    for name in AUTO_ORDER:
        factory = ENGINES.get(name)
        try:
            if available := factory.available(settings):
                return factory.open(settings), factory.description(settings, "; ".join(reasons))
            reasons.append(available.why)
        except Unavailable as error:
            reasons.append(str(error))
    raise ModelError(f"No engine can run here: {'; '.join(reasons)}.")


def only_reads(name: str | None) -> bool:
    """Whether that engine answers with the text of the page. False for an engine that is no longer installed."""
    try:
        return name in ENGINES.names and ENGINES.get(str(name)).only_reads
    except ConfigError:
        return False
