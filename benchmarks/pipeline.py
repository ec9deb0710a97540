"""How fast is the pipeline, as ratios against a baseline in the same run.

    python benchmarks/pipeline.py [PART]... [--json]

echo     the whole pipeline with the scripted model, on 1-megapixel JPEGs, against a bare loop of decode and resize
ocr      the CPU engine in one and in two processes, against bare RapidOCR
growth   the cost of a document at the beginning and at the end of a large batch
watched  what a page costs on its way into an engine's own process and back, against 59 ms a page of a fast card
start    seconds from the start of the command to the first record, on one page
"""

import argparse
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

ROUNDS = 4
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from pipeline.reporting.run_report import ReportEntry, RunReport  # noqa: E402
from pipeline.runs.commit import Committer  # noqa: E402
from pipeline.runs.session import Session  # noqa: E402
from pipeline.schema.job import parse_job  # noqa: E402
from pipeline.schema.settings import load_settings  # noqa: E402

JOB = b"""
name: note
preprocess: []
fields:
  number: {type: text}
  total: {type: money}
"""


class Quiet:
    """A listener that remembers when each document was finished."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def note(self, text: str) -> None: ...
    def started(self, waiting: int) -> None: ...
    def answering(self, document_id: str, text: str) -> None: ...
    def finished(self, entry: ReportEntry) -> None:
        self.times.append(time.perf_counter())

    def ended(self, run_report: RunReport) -> None:
        pass


def photographs(folder: Path, count: int, size: tuple[int, int] = (1000, 1000)) -> list[Path]:
    """Different JPEGs of paper with print, about 200 kB a megapixel, as phones and scanners make them."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    paper = rng.normal(225, 6, (size[1], size[0], 1)).repeat(3, 2)
    for row in range(40, size[1] - 40, 28):
        for left in range(40, size[0] - 80, 60):
            paper[row : row + 14, left : left + int(rng.integers(20, 55)) : 3] = 40
    picture = Image.fromarray(paper.clip(0, 255).astype(np.uint8))
    picture.save(folder / "first.jpg", quality=85)
    data, paths = (folder / "first.jpg").read_bytes(), []
    (folder / "first.jpg").unlink()
    for number in range(count):  # a trailing comment makes each file another document at no cost
        paths.append(folder / f"{number:05}.jpg")
        paths[-1].write_bytes(data + b"%d" % number)
    return paths


def settled(root: Path, box: str, count: int, size: tuple[int, int]) -> None:
    paths = photographs(root / "inbox" / box, count, size)
    for path in paths:
        os.utime(path, (1_700_000_000, 1_700_000_000))


def _open_and_resize(path: Path) -> int:
    from models.scripted.echo import EchoEngine

    picture = Image.open(path).convert("RGB")
    return int(
        np.asarray(picture.resize(EchoEngine.page_spec.fit(*picture.size), Image.Resampling.BICUBIC)).sum(
            dtype=np.int64
        )
        % 7
    )


def echo(processes: int, count: int) -> dict[str, Any]:
    from models.scripted.echo import EchoEngine

    job = parse_job(JOB)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        settled(root, job.inbox, count, (1000, 1000))
        files = sorted((root / "inbox" / job.inbox).iterdir())
        with multiprocessing.get_context("forkserver").Pool(processes) as pool:
            pool.map(_open_and_resize, files[: 4 * processes])
            begun = time.perf_counter()
            pool.map(_open_and_resize, files, chunksize=8)
            bare = count / (time.perf_counter() - begun)
        listener = Quiet()
        settings = load_settings(None, root=root, workers=processes, settle_s=0)
        with Session(
            settings, [job], EchoEngine({"*": '{"number": "A-1", "total": "12.50"}'}), "echo", listener
        ) as session:
            begun = time.perf_counter()
            run_report = session.batch()
            whole = count / (time.perf_counter() - begun)
        assert run_report.summary()["done"] == count, run_report.summary()
    return {"documents": count, "bare_per_s": bare, "pipeline_per_s": whole, "ratio": whole / bare, "target": 0.8}


class Clock:
    """A listener that notes, at every document, the CPU seconds of this process, in all and inside of flushes."""

    def __init__(self) -> None:
        self.all: list[float] = []
        self.flushes: list[float] = []
        self._flushed = 0.0

    def note(self, text: str) -> None: ...
    def started(self, waiting: int) -> None: ...
    def answering(self, document_id: str, text: str) -> None: ...
    def finished(self, entry: ReportEntry) -> None:
        self.all.append(time.process_time())
        self.flushes.append(self._flushed)

    def ended(self, run_report: RunReport) -> None:
        pass

    @contextmanager
    def watching(self) -> Iterator[None]:
        flush = Committer.flush

        def timed(committer: Committer) -> None:
            begun = time.process_time()
            flush(committer)
            self._flushed += time.process_time() - begun

        with mock.patch.object(Committer, "flush", timed):
            yield

    def cost(self, first: int, last: int) -> tuple[float, float]:
        """CPU milliseconds a document from `first` to `last`: without flushes, and of flushes."""
        flushed = self.flushes[last] - self.flushes[first]
        own = self.all[last] - self.all[first] - flushed
        return own / (last - first) * 1e3, flushed / (last - first) * 1e3


def growth(processes: int, count: int) -> dict[str, Any]:
    """The first and the last fifth after 1,000 documents. Flushes come in lumps, so they are told apart."""
    from models.scripted.echo import EchoEngine

    job, clock = parse_job(JOB), Clock()
    with tempfile.TemporaryDirectory() as place, clock.watching():
        root = Path(place)
        settled(root, job.inbox, count, (64, 64))
        settings = load_settings(None, root=root, workers=processes, settle_s=0)
        with Session(
            settings, [job], EchoEngine({"*": '{"number": "A-1", "total": "12.50"}'}), "echo", clock
        ) as session:
            session.batch()
    fifth = (count - 1000) // 5
    (early, _), (late, _) = clock.cost(1000, 1000 + fifth), clock.cost(count - 1 - fifth, count - 1)
    own, flushes = clock.cost(1000, count - 1)
    return {
        "documents": count,
        "early_cpu_ms": early,
        "late_cpu_ms": late,
        "ratio": late / early,
        "target": 1.05,
        "flush_cpu_ms": flushes,
        "flush_share": flushes / (own + flushes),
    }


def _bare_ocr(paths: list[Path]) -> float:
    """Pages a second of RapidOCR itself, with the settings of the CPU engine, in this process and one thread."""
    from rapidocr import RapidOCR

    reader = RapidOCR(
        params={
            "Global.use_cls": False,
            "Global.log_level": "critical",
            "Det.limit_type": "max",
            "Det.limit_side_len": 1280,
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )
    pictures = [np.asarray(Image.open(path).convert("RGB"))[:, :, ::-1] for path in paths]
    reader(pictures[0])
    begun = time.perf_counter()
    for picture in pictures:
        reader(picture)
    return len(paths) / (time.perf_counter() - begun)


def ocr(pages: int) -> dict[str, Any]:
    from models.ocr.engine import OcrEngine

    samples = [path for path in sorted((HERE.parent / "samples" / "receipts").iterdir()) if path.suffix == ".jpg"]
    job = parse_job((HERE.parent / "jobs" / "receipt.yaml").read_bytes(), "receipt.yaml")
    with tempfile.TemporaryDirectory() as place:
        rates: dict[str, float] = {"bare_per_s": _bare_ocr([samples[n % len(samples)] for n in range(pages)])}
        for workers in (1, 2):
            root = Path(place, str(workers))
            box = root / "inbox" / job.inbox
            box.mkdir(parents=True)
            for number in range(2 * pages):
                (box / f"{number}.jpg").write_bytes(samples[number % len(samples)].read_bytes() + b"%d" % number)
            listener, engine = Quiet(), OcrEngine(workers)
            settings = load_settings(None, root=root, workers=workers, settle_s=0)
            try:
                with Session(settings, [job], engine, "ocr", listener) as session:
                    session.batch()
            finally:
                engine.close()
            skipped = 2 * workers  # the processes load their models meanwhile
            seconds = listener.times[-1] - listener.times[skipped - 1]
            rates[f"processes_{workers}_per_s"] = (2 * pages - skipped) / seconds
    one, two, bare = rates["processes_1_per_s"], rates["processes_2_per_s"], rates["bare_per_s"]
    return {
        "pages": 2 * pages,
        **rates,
        "ratio_1": one / bare,
        "target_1": 0.95,
        "ratio_2": two / bare,
        "target_2": 1.8,
    }


def watched(pages: int) -> dict[str, Any]:
    """The scripted engine in this process and under the supervisor, with pages of the GPU engine's size.

    `cost_ms` is all that the way adds to a page when nothing runs side by side: the worst case. `engine_cpu_ms` is the
    part in the engine's own process, the only one that a GPU could wait for.
    """
    import resource

    from models.scripted.faulty import FaultyEngine
    from models.supervision.engine_host import Heartbeat
    from models.supervision.supervisor import SupervisedEngine
    from pipeline.core.geometry import Affine
    from pipeline.core.types import Document, Page
    from pipeline.extraction import prompt

    job, dice = parse_job(JOB), np.random.default_rng(0)
    image = dice.integers(0, 256, (32 * 28, 40 * 28, 3), dtype=np.uint8)
    asked = []
    for number in range(pages):
        document = Document(f"{number:064}", f"{number}.png", Path("x"), "note", datetime(2026, 1, 1), 1)
        page = Page(1, image.shape[1], image.shape[0], Affine(), image.copy())
        asked.append(prompt.ask(job, document, [page]))

    def seconds(model: Any) -> float:
        begun = time.perf_counter()
        assert len(list(model.answer(iter(asked)))) == pages
        return time.perf_counter() - begun

    def cpu_ms() -> float:
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (spent.ru_utime + spent.ru_stime) * 1e3

    with tempfile.TemporaryDirectory() as place:
        script = Path(place, "replies.json")
        script.write_text('{"*": "{}"}')
        model = SupervisedEngine(partial(FaultyEngine.at, script))
        model.close()
        starting_ms = cpu_ms()
        list(model.answer([]))
        under = min(seconds(model) for _ in range(ROUNDS))
        model.close()
        engine_cpu_ms = (cpu_ms() - 2 * starting_ms) / (ROUNDS * pages)
        bare = min(seconds(FaultyEngine.at(script, Heartbeat(socket.socket(), 1e9))) for _ in range(ROUNDS))
    cost_ms = (under - bare) / pages * 1e3
    return {
        "pages": pages,
        "cost_ms": cost_ms,
        "engine_cpu_ms": engine_cpu_ms,
        "share": engine_cpu_ms / 59,  # 17 pages a second, the best of docs/performance.md
        "target": 0.02,
    }


def start() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        (root / "inbox" / "receipts").mkdir(parents=True)
        sample = HERE.parent / "samples" / "receipts" / "cafe_slanted.jpg"
        target = root / "inbox" / "receipts" / sample.name
        target.write_bytes(sample.read_bytes())
        os.utime(target, (1_700_000_000, 1_700_000_000))
        command = [sys.executable, str(HERE.parent / "run_batch.py"), "--root", str(root), "--job", "receipt"]
        seconds = []
        for _ in range(3):
            begun = time.perf_counter()
            process = subprocess.Popen(command, cwd=HERE.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            records = root / "records" / "receipt"
            while not (records.is_dir() and any(records.iterdir())) and process.poll() is None:
                time.sleep(0.01)
            seconds.append(time.perf_counter() - begun)
            process.wait()
            for record in records.iterdir():
                record.unlink()
            done = next((root / "done").rglob("*.jpg"))
            done.rename(target)
    return {"seconds": statistics.median(seconds), "all": seconds, "target": 5.0}


def main() -> None:
    parts: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
        "echo": lambda given: echo(given.processes, given.documents),
        "ocr": lambda given: ocr(given.pages),
        "growth": lambda given: growth(given.processes, given.many),
        "watched": lambda given: watched(4 * given.pages),
        "start": lambda given: start(),
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="*", choices=[*parts, []], help="which parts to measure; all of them by default")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--documents", type=int, default=1000, help="for echo")
    parser.add_argument("--many", type=int, default=20_000, help="documents for growth")
    parser.add_argument("--pages", type=int, default=24, help="for ocr")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    results = {}
    for part in given.part or parts:
        results[part] = parts[part](given)
        if not given.json:
            print(f"{part:8}", "  ".join(f"{key} {_shown(value)}" for key, value in results[part].items()), flush=True)
    if given.json:
        print(json.dumps(results, indent=1))


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
