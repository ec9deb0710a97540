"""The factory of the scripted engine: `echo`, or `faulty` where the script asks for faults."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from models.scripted import faulty
from models.scripted.echo import EchoEngine
from pipeline.core.check_result import CheckResult
from pipeline.engine import Engine
from pipeline.plugins.engines import CheckContext, EngineFactory

if TYPE_CHECKING:
    from pipeline.schema.settings import Settings


class EchoFactory(EngineFactory):
    """`echo`: replies from the JSON file that the settings name as `weights`, supervised where it asks for faults."""

    name = "echo"

    @classmethod
    def check(cls, context: CheckContext) -> Iterator[CheckResult]:
        from models import engine_check

        yield engine_check.gpu(engine_check.card(), needed=False)
        yield from engine_check.unused_weights(context)

    @classmethod
    def open(cls, settings: "Settings") -> Engine:
        if faulty.scripted(settings.weights):
            from models.supervision.supervisor import supervised

            return supervised(partial(faulty.FaultyEngine.at, settings.weights), settings)
        return EchoEngine.from_file(settings.weights) if settings.weights.is_file() else EchoEngine({})

    @classmethod
    def description(cls, settings: "Settings", because: str | None) -> str:
        if faulty.scripted(settings.weights):
            return f"The echo engine gives the replies and simulates the faults of {settings.weights}; nothing is read."
        if settings.weights.is_file():
            return f"The echo engine gives the replies of {settings.weights}; nothing is read."
        return "The echo engine gives empty answers; nothing is read. (Name a JSON file of replies as `weights`.)"
