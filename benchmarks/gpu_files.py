"""The whole pipeline over JPEG files with the GPU engine, beside the engine alone on the same pages and questions."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import gpu_work
import numpy as np
from gpu_measures import busy, drain

from models.qwen_vl import page_spec
from models.qwen_vl.engine import ContinuousBatchEngine
from tests.support import qwen_tiny

JOB = """
name: bench
preprocess: []
max_new_tokens: 400
instructions: Read the supplier's invoice. Copy values as printed and compute nothing.
fields:
"""


class Told:
    """The engine as the pipeline sees it."""

    name, page_spec = "qwen_vl", page_spec()

    def __init__(self, engine: ContinuousBatchEngine) -> None:
        self.answer = engine.answer

    def unsupported_reason(self, job: Any) -> None:
        return None

    def provenance(self) -> dict[str, str]:
        return {"engine": "qwen_vl", "weights": "random"}

    def close(self) -> None:
        return None


def write_scans(folder: Path, count: int) -> None:
    """A4 pages at 200 dpi as JPEG, paper with rows of dark marks, no two alike."""
    from PIL import Image

    dice = np.random.default_rng(0)
    paper = dice.integers(225, 250, (2339, 1654), dtype=np.uint8)
    for top in range(150, 2200, 44):
        for left in range(120, 1500, 18):
            if dice.random() < 0.6:
                paper[top : top + 22, left : left + dice.integers(3, 14)] = dice.integers(20, 90)
    for i in range(count):
        Image.fromarray(np.roll(paper, (13 * i, 29 * i), (0, 1))).convert("RGB").save(
            folder / f"scan{i}.jpg", quality=85
        )


def from_files(engine: ContinuousBatchEngine, pages: int) -> dict[str, float]:
    """The whole pipeline over JPEG files, beside the engine alone on the same pages and questions."""
    from pipeline.core.types import Page
    from pipeline.extraction import prompt
    from pipeline.preprocessing.page_loader import PageLoader, PagePreparation
    from pipeline.runs.session import Session, decoders
    from pipeline.schema.job import parse_job
    from pipeline.schema.settings import Settings

    lines = [f"  {name}: {{type: text, pattern: '{pattern}'}}" for name, pattern in gpu_work.FIELDS.items()]
    job = parse_job((JOB + "\n".join(lines) + "\n").encode())
    root = Path(tempfile.mkdtemp())
    settings = Settings(root=root, settle_s=0.0)
    (root / "inbox" / "bench").mkdir(parents=True)
    write_scans(root / "inbox" / "bench", pages)
    files = sorted((root / "inbox" / "bench").iterdir())
    read: list[Page] = []
    with decoders(settings) as pool:
        desk, left = PageLoader(pool, settings.limits), list(files)
        while len(read) < pages:
            while left and desk.room:
                desk.ask(replace(qwen_tiny.DOCUMENT, path=left.pop()), PagePreparation((), None, Told.page_spec), 1, 1)
            read += [page for ticket in desk.ready(0.1) for page in ticket.result().pages]
    alone = drain(engine, [prompt.ask(job, qwen_tiny.DOCUMENT, [page]) for page in read])
    engine.reset()

    class Quiet:
        def note(self, text: str) -> None: ...
        def started(self, waiting: int) -> None: ...
        def answering(self, document_id: str, text: str) -> None: ...
        def finished(self, entry: Any) -> None: ...
        def ended(self, run_report: Any) -> None: ...

    with Session(settings, [job], Told(engine), "benchmark", Quiet()) as session:
        run_report, share = busy(session.batch)
    seconds = run_report.summary()["seconds"]
    assert run_report.summary()["done"] == pages, run_report.summary()
    return {"pages": pages, "pages_s": pages / seconds, "alone_pages_s": alone["pages_s"], "busy": share,
            "tokens": alone["tokens"]}  # fmt: skip
