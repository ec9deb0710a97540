"""What answers. `load` picks the engine; nothing heavy is imported before it is needed."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.settings import Settings
    from pipeline.types import Model


def load(settings: "Settings") -> tuple["Model", str]:
    """The engine that the settings ask for, and one sentence that says which it is and why. Raises ModelError."""
    if settings.engine == "echo":
        return _echo(settings)
    if settings.engine == "qwen_vl":
        return _qwen_vl(settings), f"The GPU engine qwen_vl reads, as the config asks; weights: {settings.weights}."
    if settings.engine == "ocr":
        return _ocr(settings), f"The CPU engine reads, as the config asks, in {_processes(settings)}."
    if reason := _no_gpu(settings):
        return _ocr(settings), f"The CPU engine reads, in {_processes(settings)}, because {reason}."
    return _qwen_vl(settings), f"The GPU engine qwen_vl reads: a GPU is here, and weights at {settings.weights}."


def _echo(settings: "Settings") -> tuple["Model", str]:
    from models.echo import Echo

    if settings.weights.is_file():
        return Echo.from_file(
            settings.weights
        ), f"The echo engine gives the replies of {settings.weights}; nothing is read."
    return Echo({}), "The echo engine gives empty answers; nothing is read. (Name a JSON file of replies as `weights`.)"


def _ocr(settings: "Settings") -> "Model":
    from models.ocr.engine import Ocr

    return Ocr(settings.workers, settings.limits.seconds, settings.limits.memory_mib)


def _qwen_vl(settings: "Settings") -> "Model":
    """Raises ModelError where it cannot run here."""
    from models.qwen_vl import QwenVL

    return QwenVL(settings.weights, vram_gib=settings.vram_gib, low_resolution=settings.low_resolution)


def _no_gpu(settings: "Settings") -> str:
    """Why the GPU engine cannot run here, cheapest question first; "" when it can. torch is imported last."""
    if not (settings.weights / "config.json").is_file():
        return f"there are no weights at {settings.weights}"
    if find_spec("torch") is None:
        return "torch is not installed"
    if os.name == "posix" and not Path("/proc/driver/nvidia").exists() and not Path("/dev/nvidia0").exists():
        return "there is no GPU"
    import torch

    return "" if torch.cuda.is_available() else "torch sees no GPU"


def _processes(settings: "Settings") -> str:
    count = settings.workers or os.cpu_count() or 1
    return "1 process" if count == 1 else f"{count} processes"
