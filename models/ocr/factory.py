"""The factory of the CPU engine, which runs on every machine and reads printed text."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from models.ocr.candidates.families import unsupported_reason
from pipeline.core.check_result import CheckResult
from pipeline.plugins.engines import Availability, CheckContext, EngineFactory

if TYPE_CHECKING:
    from models.ocr.engine import OcrEngine
    from pipeline.schema.job import Job
    from pipeline.schema.settings import Settings


class OcrFactory(EngineFactory):
    """`ocr`: the models of the rapidocr wheel, in one process a core."""

    name = "ocr"
    only_reads = True

    @classmethod
    def available(cls, settings: "Settings") -> Availability:
        return Availability(True, "it runs on every machine")

    @classmethod
    def check(cls, context: CheckContext) -> Iterator[CheckResult]:
        from models import engine_check

        yield engine_check.gpu(engine_check.card(), needed=False)
        yield engine_check.ocr()
        yield from engine_check.unused_weights(context)

    @classmethod
    def unsupported_reason(cls, job: "Job") -> str | None:
        return unsupported_reason(job)

    @classmethod
    def open(cls, settings: "Settings") -> "OcrEngine":
        from models.ocr.engine import OcrEngine

        return OcrEngine(settings.workers, settings.limits.seconds, settings.limits.memory_mib)

    @classmethod
    def description(cls, settings: "Settings", because: str | None) -> str:
        count = settings.workers or os.cpu_count() or 1
        processes = "1 process" if count == 1 else f"{count} processes"
        if because is None:
            return f"The CPU engine reads, as the config asks, in {processes}."
        return f"The CPU engine reads, in {processes}, because {because}."
