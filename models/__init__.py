"""What answers. `load` picks the engine; nothing heavy is imported before it is needed."""

import os
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import ModelError

if TYPE_CHECKING:
    from models.keeper import Pulse, Start
    from models.qwen_vl.scheduling.answer_lengths import AnswerLengths
    from models.supervisor import Supervised
    from pipeline.settings import Settings
    from pipeline.types import Model, Reply


def load(settings: "Settings") -> tuple["Model", str]:
    """The engine that the settings ask for, and one sentence that says which it is and why. Raises ModelError."""
    if settings.engine == "echo":
        return _echo(settings)
    if settings.engine == "qwen_vl":
        return _qwen_vl(settings), f"The GPU engine qwen_vl reads, as the config asks; weights: {settings.weights}."
    if settings.engine == "ocr":
        return _ocr(settings), f"The CPU engine reads, as the config asks, in {_processes(settings)}."
    reason = no_gpu(settings)
    if not reason:
        try:
            return _qwen_vl(
                settings
            ), f"The GPU engine qwen_vl reads: a GPU is here, and weights at {settings.weights}."
        except NoGpu as error:
            reason = str(error)
    return _ocr(settings), f"The CPU engine reads, in {_processes(settings)}, because {reason}."


class NoGpu(ModelError):
    """torch cannot compute on a GPU here."""


def _echo(settings: "Settings") -> tuple["Model", str]:
    from models import mischief
    from models.echo import Echo

    if mischief.scripted(settings.weights):
        line = f"The echo engine gives the replies of {settings.weights}, and misbehaves as they say; nothing is read."
        return _watched(partial(mischief.Mischief.at, settings.weights), settings), line
    if settings.weights.is_file():
        return Echo.from_file(
            settings.weights
        ), f"The echo engine gives the replies of {settings.weights}; nothing is read."
    return Echo({}), "The echo engine gives empty answers; nothing is read. (Name a JSON file of replies as `weights`.)"


def _ocr(settings: "Settings") -> "Model":
    from models.ocr.engine import Ocr

    return Ocr(settings.workers, settings.limits.seconds, settings.limits.memory_mib)


def _qwen_vl(settings: "Settings") -> "Model":
    """Raises ModelError where it cannot run here; NoGpu where `auto` met weights, but torch finds no GPU."""
    from models.answer_length_store import AnswerLengthStore

    store = AnswerLengthStore(settings.root)
    make = partial(looking, settings.weights, settings.vram_gib, settings.low_resolution, settings.engine == "auto",
                   store.lengths)  # fmt: skip
    return _watched(make, settings, store.heard)


def looking(weights: Path, vram_gib: float | None, low_resolution: bool, only_on_gpu: bool,
            lengths: "AnswerLengths", pulse: "Pulse") -> "Model":  # fmt: skip
    """qwen_vl, in the engine's own process, so that the run itself never loads torch, nor holds a card."""
    from models.qwen_vl import QwenVL

    if only_on_gpu:
        import torch

        if not torch.cuda.is_available():
            raise NoGpu("torch sees no GPU")
    return QwenVL(weights, vram_gib=vram_gib, low_resolution=low_resolution, lengths=lengths, pulse=pulse)


def _watched(
    make: "Start", settings: "Settings", heard: "Callable[[Reply | None], None]" = lambda reply: None
) -> "Supervised":
    from models.supervisor import Supervised

    return Supervised(make, step_s=settings.engine_step_s, start_s=settings.engine_start_s, heard=heard)


def no_gpu(settings: "Settings") -> str:
    """Why the GPU engine cannot run here, as far as can be told without torch; "" when it may."""
    if not (settings.weights / "config.json").is_file():
        return f"there are no weights at {settings.weights}"
    if find_spec("torch") is None:
        return "torch is not installed"
    if os.name == "posix" and not Path("/proc/driver/nvidia").exists() and not Path("/dev/nvidia0").exists():
        return "there is no GPU"
    return ""


def _processes(settings: "Settings") -> str:
    count = settings.workers or os.cpu_count() or 1
    return "1 process" if count == 1 else f"{count} processes"
