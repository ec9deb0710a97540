"""The doctor's checks of the engines: which one runs, and whether GPU, kernels and weights are usable.

Works without torch and without nvidia-smi; what they would show is then reported as unknown.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from models.qwen_vl.weights import weights_folder
from pipeline.core.check_result import CheckResult
from pipeline.core.errors import LibraryError, ModelError
from pipeline.plugins.engines import Begin, CheckContext, choose
from pipeline.system import gpu_monitor, missing_library
from pipeline.system.filesystem import sha256_of
from pipeline.system.process_pool import once
from pipeline.system.worker_process import WorkerError

if TYPE_CHECKING:
    from pipeline.schema.settings import Settings

GIB = 1 << 30
OVERHEAD_GIB = 2.6  # context, graphs, margin, pictures and a step's work beside the 7B's weights; 18 GiB in all


class GpuInfo(NamedTuple):
    """A GPU as its driver reports it; sizes in GiB."""

    name: str
    driver: str
    total: float
    free: float


def checkup(settings: "Settings", published: Mapping[str, str], begin: Begin) -> Iterator[CheckResult]:
    """`published`: SHA-256 of weights files by name, as the bundle had them. `begin` tells of long readings."""
    factory, why = choose(settings)
    yield CheckResult("engine", "ok", f"{factory.name}: {why}")
    context = CheckContext(settings, published, begin)
    yield from loading(factory.name, lambda: factory.check(context))


def loading(check: str, look: Callable[[], Iterable[CheckResult]]) -> Iterator[CheckResult]:
    """What `look` finds; where a library cannot be loaded for it, that, in the line `check`."""
    try:
        yield from look()
    except Exception as error:
        missing = missing_library.fault(error)
        if missing is None:
            raise
        yield CheckResult(check, "fault", missing.what, missing.cure)


def gpu_engine(context: CheckContext) -> Iterator[CheckResult]:
    """What the GPU engine needs: card, whole weights, memory for its plan, and its kernels."""
    settings, seen = context.settings, card()
    yield from loading("GPU", lambda: [gpu(seen, needed=True)])
    faults = weights_folder.faults(settings.weights)
    yield _weights(context, faults, needed=True)
    if not faults:
        yield _memory(settings, seen)
    yield from loading("attention", lambda: [_attention(settings.weights)])


def unused_weights(context: CheckContext) -> Iterator[CheckResult]:
    """Check weights that are present although the engine does not use them."""
    if context.settings.weights.is_dir():
        yield _weights(context, weights_folder.faults(context.settings.weights), needed=False)


def card() -> GpuInfo | str:
    """The first card that this process may use, or why there is none."""
    try:
        values = gpu_monitor.query("name", "driver_version", "memory.total", "memory.free")
    except gpu_monitor.GpuQueryError as error:
        return str(error)
    if values is not None:
        name, driver, total, free = values
        try:
            return GpuInfo(name, driver, float(total) / 1024, float(free) / 1024)
        except ValueError:
            return f"nvidia-smi says: {', '.join(values)}"
    if not Path("/dev/nvidia0").exists() or find_spec("torch") is None:
        return "no GPU is seen here (no nvidia-smi, no /dev/nvidia0)"
    try:
        missing_library.load("torch")
    except LibraryError as error:
        return error.what
    import torch

    if not torch.cuda.is_available():
        return "torch sees no GPU"
    free_bytes, total_bytes = torch.cuda.mem_get_info()
    return GpuInfo(torch.cuda.get_device_name(), "of unknown version", total_bytes / GIB, free_bytes / GIB)


def gpu(card: GpuInfo | str, needed: bool) -> CheckResult:
    if isinstance(card, GpuInfo):
        seen = f"{card.name}, {card.total:.1f} GiB, {card.free:.1f} GiB free; driver {card.driver}"
        if not needed:
            return CheckResult("GPU", "ok", f"{seen}; the engine does not use it")
        if find_spec("torch") is None:
            return CheckResult(
                "GPU",
                "fault",
                f"{seen}; torch is not installed",
                "pip install -c constraints.txt -c constraints-gpu.txt -e '.[gpu]'",
            )
        import torch

        if not torch.cuda.is_available():
            cure = "Install a torch built for CUDA, or a driver that is new enough for it."
            return CheckResult("GPU", "fault", f"{seen}; torch {torch.__version__} cannot use it", cure)
        return CheckResult("GPU", "ok", seen)
    if needed:
        return CheckResult("GPU", "fault", card, "Without a GPU that torch can use, set `engine: ocr` in the config.")
    return CheckResult("GPU", "ok", f"{card}; none is needed")


def _memory(settings: "Settings", card: GpuInfo | str) -> CheckResult:
    """The engine plans for itself at its start, by measuring; this says beforehand whether that can succeed."""
    weights = sum((settings.weights / name).stat().st_size for name in weights_folder.shards(settings.weights)) / GIB
    needed = weights + OVERHEAD_GIB
    plan = f"the plan needs about {needed:.1f} GiB (weights {weights:.1f})"
    if settings.vram_gib is not None and settings.vram_gib < needed:
        cure = f"Raise vram_gib to {needed:.1f} or more, or use a smaller model."
        return CheckResult("VRAM", "fault", f"{plan}, and the config allows {settings.vram_gib:g}", cure)
    if not isinstance(card, GpuInfo):
        return CheckResult("VRAM", "warning", f"{plan}; what is free is not known")
    if card.free < needed:
        cure = "End what else uses the card (nvidia-smi names it), or see configs/low_memory.yaml."
        return CheckResult("VRAM", "fault", f"{plan}, and {card.free:.1f} are free", cure)
    room = min(card.free, settings.vram_gib or card.free) - needed
    asked = f"of the {settings.vram_gib:g} that the config allows" if settings.vram_gib else "of what is free"
    if settings.vram_gib and settings.vram_gib > card.free:
        cure = "End what else uses the card, or lower vram_gib. It runs, with fewer pages at once."
        return CheckResult(
            "VRAM", "warning", f"{plan}; the config allows {settings.vram_gib:g}, {card.free:.1f} are free", cure
        )
    return CheckResult("VRAM", "ok", f"{plan}; {room:.1f} GiB {asked} are left for pages at once")


def _attention(weights: Path) -> CheckResult:
    """Runs the engine's own probe: every kernel beside its reference on a small problem."""
    if find_spec("torch") is None:
        return CheckResult(
            "attention",
            "warning",
            "unknown: torch is not installed",
            "pip install -c constraints.txt -c constraints-gpu.txt -e '.[gpu]'",
        )
    import torch

    if not torch.cuda.is_available():
        return CheckResult("attention", "warning", "not probed: torch sees no GPU")
    from models.qwen_vl.compute.kernel_choice import pick

    config = weights_folder.read_json(weights / "config.json")
    if isinstance(config, str):
        return CheckResult("attention", "warning", f"not probed: {config}")
    try:
        vision, text = config["vision_config"], config.get("text_config", config)
        heads = vision["hidden_size"] // vision["num_heads"], text["hidden_size"] // text["num_attention_heads"]
    except (KeyError, TypeError):
        return CheckResult("attention", "warning", "not probed: config.json does not tell the size of its heads")
    _, line = pick(torch.device("cuda"), torch.bfloat16, *heads)
    if "sdpa" in line.split("(")[0]:
        return CheckResult(
            "attention", "warning", line, "It works, slowly. pip install -c constraints.txt -e '.[flash]' may help."
        )
    return CheckResult("attention", "ok", line)


def ocr() -> CheckResult:
    from models.ocr.engine import warm_up
    from models.ocr.text.recognizer import model_files

    try:
        files = model_files()
        once(warm_up)
    except LibraryError as error:
        return CheckResult("OCR models", "fault", error.what, error.cure)
    except (ModelError, WorkerError) as error:
        return CheckResult("OCR models", "fault", str(error), "pip install --force-reinstall rapidocr onnxruntime")
    digests = " and ".join(f"{path.stem} {sha256_of(path)[:12]}" for path in files)
    return CheckResult("OCR models", "ok", f"they load: {digests} (rapidocr {version('rapidocr')})")


def _weights(context: CheckContext, faults: list[str], needed: bool) -> CheckResult:
    place = context.settings.weights
    if faults:
        cure = (
            f"{weights_folder.how_to_fetch(place)}" if needed else "They are not used; fetch them again, or move them."
        )
        return CheckResult("weights", "fault" if needed else "warning", f"{place}: {'; '.join(faults)}", cure)
    names = sorted({*weights_folder.NEEDED, *weights_folder.shards(place)})
    digests = _digests([place / name for name in names], context.begin)
    known = {name: sha256 for name in names if (sha256 := context.published.get(name) or _downloaded(place, name))}
    wrong = [name for name, sha256 in known.items() if digests[place / name] != sha256]
    if wrong:
        cure = f"The disk or a copy damaged them. {weights_folder.how_to_fetch(place)}"
        return CheckResult("weights", "fault", f"{place}: other bytes than were published: {', '.join(wrong)}", cure)
    size = sum((place / name).stat().st_size for name in names) / GIB
    whole = hashlib.sha256("".join(f"{name} {digests[place / name]}\n" for name in names).encode()).hexdigest()
    compared = f"{len(known)} of them as published" if known else "there is no published digest here to compare with"
    return CheckResult(
        "weights", "ok", f"{place}: {len(names)} files, {size:.1f} GiB, whole; {compared}; SHA-256 {whole[:16]}"
    )


def _downloaded(place: Path, name: str) -> str:
    """The SHA-256 that `hf download --local-dir` noted for a large file: the second line of its metadata."""
    try:
        lines = (place / ".cache/huggingface/download" / f"{name}.metadata").read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return ""
    etag = lines[1].strip() if len(lines) > 1 else ""
    return etag if len(etag) == 64 else ""  # small files have a git digest there, of 40 characters


def _digests(files: list[Path], begin: Begin) -> dict[Path, str]:
    """Of every byte; remembered for files whose size and time of change are as they were, so that it is read once."""
    memory = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scanmill" / "digests.json"
    try:
        known: dict[str, list[object]] = json.loads(memory.read_text("utf-8"))
    except (OSError, ValueError):
        known = {}
    marks = {path: [path.stat().st_size, path.stat().st_mtime_ns] for path in files}
    found = {
        path: str(entry[2])
        for path in files
        if isinstance(entry := known.get(str(path.resolve())), list) and entry[:2] == marks[path] and len(entry) == 3
    }
    unread = [path for path in files if path not in found]
    if unread:
        advance = begin("reading the weights", sum(path.stat().st_size for path in unread))
        found |= {path: sha256_of(path, advance) for path in unread}
        known |= {str(path.resolve()): [*marks[path], found[path]] for path in unread}
        try:
            memory.parent.mkdir(parents=True, exist_ok=True)
            memory.write_text(json.dumps(known), "utf-8")
        except OSError:
            begin(f"{memory} cannot be written: the weights will be read again next time", 0)
    return found
