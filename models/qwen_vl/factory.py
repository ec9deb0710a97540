"""Registers the GPU engine: availability, checks and start. Does not import torch."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.core.check_result import CheckResult
from pipeline.plugins.engines import AUTO, Availability, CheckContext, EngineFactory, Unavailable

if TYPE_CHECKING:
    from models.qwen_vl import QwenVL
    from models.qwen_vl.scheduling.answer_lengths import AnswerLengths
    from models.supervision.supervisor import SupervisedEngine
    from pipeline.schema.settings import Settings


class QwenVLFactory(EngineFactory):
    """`qwen_vl`: Qwen2.5-VL in a supervised process, so that the run itself does not load torch."""

    name = "qwen_vl"
    extra = "gpu"

    @classmethod
    def available(cls, settings: "Settings") -> Availability:
        if not (settings.weights / "config.json").is_file():
            return Availability(False, f"there are no weights at {settings.weights}")
        if find_spec("torch") is None:
            return Availability(False, "torch is not installed")
        if os.name == "posix" and not Path("/proc/driver/nvidia").exists() and not Path("/dev/nvidia0").exists():
            return Availability(False, "there is no GPU")
        return Availability(True, "a GPU and weights are here")

    @classmethod
    def check(cls, context: CheckContext) -> Iterator[CheckResult]:
        from models import engine_check

        return engine_check.gpu_engine(context)

    @classmethod
    def open(cls, settings: "Settings") -> "SupervisedEngine":
        """Raises ModelError if it cannot run here, and Unavailable if `auto` chose it but torch finds no GPU."""
        from models.qwen_vl.answer_length_store import AnswerLengthStore
        from models.supervision.supervisor import supervised

        store = AnswerLengthStore(settings.root)
        options = EngineOptions(settings.weights, settings.vram_gib, settings.low_resolution, settings.engine == AUTO)
        return supervised(partial(start, options, store.lengths), settings, store.heard)

    @classmethod
    def description(cls, settings: "Settings", because: str | None) -> str:
        if because is None:
            return f"The GPU engine qwen_vl reads, as the config asks; weights: {settings.weights}."
        return f"The GPU engine qwen_vl reads: a GPU is here, and weights at {settings.weights}."


class EngineOptions(NamedTuple):
    """Settings passed to the engine's process. `only_on_gpu`: refuse to start if torch finds no GPU."""

    weights: Path
    vram_gib: float | None
    low_resolution: bool
    only_on_gpu: bool


def start(options: EngineOptions, lengths: "AnswerLengths", pulse: Callable[[], None]) -> "QwenVL":
    """Create the engine, in its own process. Raises ModelError."""
    from models.qwen_vl import QwenVL

    if options.only_on_gpu:
        import torch

        if not torch.cuda.is_available():
            raise Unavailable("torch sees no GPU")
    return QwenVL(
        options.weights,
        vram_gib=options.vram_gib,
        low_resolution=options.low_resolution,
        lengths=lengths,
        pulse=pulse,
    )
