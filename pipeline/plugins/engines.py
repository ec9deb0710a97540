"""The engines by name, what is known of each before it is started, and which one a run takes."""

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

AUTO = "auto"  # what the config says where the first engine of AUTO_ORDER that is available is to read
AUTO_ORDER = ("qwen_vl", "ocr")

Begin = Callable[[str, int], Callable[[int], None]]  # what is read now and its bytes -> what counts them


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether an engine can run here, and why (not): "there is no GPU"."""

    here: bool
    why: str = ""

    def __bool__(self) -> bool:
        return self.here


class Unavailable(ModelError):
    """Raised by `open` where only starting the engine shows that it is not available; `auto` then goes on."""


@dataclass(frozen=True, slots=True)
class CheckContext:
    """What an engine's check may use. `published`: SHA-256 of weights files by name, as their bundle had them.

    `begin` tells the person who waits of long readings.
    """

    settings: "Settings"
    published: Mapping[str, str]
    begin: Begin


class EngineFactory(ABC):
    """One kind of engine. Never made an object: all that is asked of it is asked of the class.

    Its module imports nothing heavy at its top: the class is imported whenever engines are listed. `name` is its name
    in ENGINES and the `name` of the engine that `open` gives. `extra` is the extra of pyproject.toml that it needs.
    `only_reads`: it answers a question with the text that it reads.
    """

    name: ClassVar[str]
    extra: ClassVar[str] = ""
    only_reads: ClassVar[bool] = False

    @classmethod
    def available(cls, settings: "Settings") -> Availability:
        """Whether it can run here, as far as can be told at once and without loading anything."""
        return Availability(True)

    @classmethod
    def check(cls, context: CheckContext) -> Iterator[CheckResult]:
        """What the doctor says of it, a line each."""
        yield from ()

    @classmethod
    def unsupported_reason(cls, job: "Job") -> str | None:
        """Why it cannot answer the job, as far as is known before it is started; None where it can or may."""
        return None

    @classmethod
    @abstractmethod
    def open(cls, settings: "Settings") -> "Engine":
        """The engine, ready to answer. Raises ModelError where it cannot run, Unavailable where `auto` may go on."""

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
    """The engine that a run would take, and why, without starting it. Raises ConfigError."""
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
    """The engine that the settings ask for, and one sentence that says which it is and why. Raises ModelError and
    ConfigError."""
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
    """Whether answers of that engine are the text that it read. False for an engine that is not installed any more."""
    try:
        return name in ENGINES.names and ENGINES.get(str(name)).only_reads
    except ConfigError:
        return False
