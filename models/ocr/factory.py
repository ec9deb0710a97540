"""The CPU engine before it is started: it runs everywhere, and reads what is printed."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from models.ocr.families import unfit
from pipeline.engines import Availability, CheckContext, EngineFactory
from pipeline.fields import leaves
from pipeline.finding import Finding

if TYPE_CHECKING:
    from models.ocr.engine import Ocr
    from pipeline.job import Job
    from pipeline.settings import Settings


class OcrFactory(EngineFactory):
    """`ocr`: the models of the rapidocr wheel, in one process a core."""

    name = "ocr"
    only_reads = True

    @classmethod
    def available(cls, settings: "Settings") -> Availability:
        return Availability(True, "it runs on every machine")

    @classmethod
    def check(cls, context: CheckContext) -> Iterator[Finding]:
        from models import checkup

        yield checkup.gpu(checkup.card(), needed=False)
        yield checkup.ocr()
        yield from checkup.unused_weights(context)

    @classmethod
    def unsupported_reason(cls, job: "Job") -> str | None:
        """Why not, when a field needs a model that looks at the picture, or names an unknown finder.

        In a job of questions, prose is answered with the text that the pictures hold, and the record says so.
        """
        for path, leaf in leaves(job.fields):
            if not leaf.readable and not (job.questions and leaf.answers_question):
                return "only the GPU engine, which looks at pictures, can answer"
            if reason := unfit(path, leaf):
                return reason
        return None

    @classmethod
    def open(cls, settings: "Settings") -> "Ocr":
        from models.ocr.engine import Ocr

        return Ocr(settings.workers, settings.limits.seconds, settings.limits.memory_mib)

    @classmethod
    def description(cls, settings: "Settings", because: str | None) -> str:
        count = settings.workers or os.cpu_count() or 1
        processes = "1 process" if count == 1 else f"{count} processes"
        if because is None:
            return f"The CPU engine reads, as the config asks, in {processes}."
        return f"The CPU engine reads, in {processes}, because {because}."
