"""Time that one document may cost, and what a stop leaves: real slow files, real decoders, real OCR."""

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.ocr.engine import OcrEngine
from models.scripted.echo import EchoEngine
from pipeline.core.geometry import Affine
from pipeline.core.time_budget import Budget
from pipeline.core.types import Page, Record
from pipeline.engine import Engine, PageSpec, Reply, Request
from pipeline.extraction import prompt
from pipeline.preprocessing.page_loader import PageLoader, warm_up
from pipeline.runs.scheduler import Scheduler
from pipeline.runs.scheduler_events import Assignment, DocumentFinished, Event, Idle
from pipeline.schema.job import Job, parse_job
from pipeline.schema.settings import Limits, Settings, load_settings
from pipeline.system.pool_task import WorkerOverBudget
from pipeline.system.process_pool import ProcessPool
from tests.stress import bombs
from tests.support import worker_tasks as tasks
from tests.support.builders import file_document, file_names, run_batch
from tests.support.handmade import written
from tests.support.waiting import EVENT_S

NOTE = parse_job(b"name: note\nwindow: 1\npreprocess: []\nfields: {number: {type: text}}\n")
BY_PAGE = parse_job(b"name: note\nper: page\npreprocess: []\nfields: {number: {type: text}}\n")
GOOD = {"*": '{"number": "A-1"}'}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "inbox" / "note").mkdir(parents=True)
    return tmp_path


def settings(root: Path, **limits: float) -> Settings:
    return load_settings(None, root=root, workers=2, settle_s=0, limits=limits)


def page_s(path: Path, levels: int) -> float:
    """Seconds in which a worker of this machine decodes one page of `bombs.slow_pdf`."""
    path.write_bytes(bombs.slow_pdf(1, levels=levels))
    with ProcessPool(1, seconds=EVENT_S, memory_mib=1024, start=warm_up) as pool:
        for _ in range(2):  # the first time includes the start
            begun = time.monotonic()
            events(pool, [path], EchoEngine(GOOD), lambda: False, 0)
            took_s = time.monotonic() - begun
    return took_s


# --- the bound


def test_tasks_share_a_budget_and_others_do_not_suffer(start_s: float) -> None:
    limit_s = round(max(1.0, start_s), 1)
    task_s = 0.3 * limit_s
    with ProcessPool(1, seconds=EVENT_S, memory_mib=256) as pool:
        budget = Budget(limit_s)
        bound = [pool.submit(tasks.sleep, task_s, budget=budget) for _ in range(20)]
        free = pool.submit(tasks.sleep, task_s)
        while pool.in_flight:
            pool.wait()
    assert free.result() == task_s
    assert budget.left_s == 0
    with pytest.raises(WorkerOverBudget, match=rf"all tasks together took longer than {re.escape(f'{limit_s:g}')} s"):
        bound[-1].result()
    assert bound[0].result() == task_s


def test_a_slow_document_fails_with_cause_and_cure_and_the_run_goes_on(root: Path, start_s: float) -> None:
    limit_s = round(max(4.0, 3 * start_s))
    (root / "inbox" / "note" / "slow.pdf").write_bytes(bombs.slow_pdf(2000))  # hours, at seconds a page
    written(300, 300).save(root / "inbox" / "note" / "good.png")
    run_report = run_batch(settings(root, document_seconds=limit_s, seconds=60), EchoEngine(GOOD), NOTE)
    assert run_report.faults() == []
    assert {entry.name: entry.outcome for entry in run_report.entries} == {"slow.pdf": "failed", "good.png": "done"}
    said = json.loads((root / "failed" / "note" / "slow.pdf.error.json").read_bytes())
    assert said["code"] == "too_much_time"
    (error,) = [entry.error for entry in run_report.entries if entry.error]
    assert f"took longer than {limit_s} s" in error[1]
    assert "limits.document_seconds" in said["what"]
    assert said["what_to_do"]


def test_pages_that_were_read_in_time_stay_read(root: Path) -> None:
    quick_then_slow = root / "inbox" / "note" / "mixed.pdf"
    quick_then_slow.write_bytes(bombs.slow_pdf(30, levels=3))
    limit_s = 10 * page_s(root / "one.pdf", levels=3)
    run_report = run_batch(settings(root, document_seconds=limit_s, seconds=60), EchoEngine(GOOD), BY_PAGE)
    assert run_report.faults() == []
    (entry,) = run_report.entries
    assert (entry.outcome, entry.error and entry.error[0], entry.pages) == ("failed", "too_much_time", 30)
    states = [json.loads(path.read_bytes())["status"] for path in (root / "records" / "note").iterdir()]
    assert len(states) == 30
    assert states.count("failed") > 0 < states.count("ok")


def test_slow_reading_by_ocr_counts_too(root: Path) -> None:
    page = written(1700, 2200, 60)
    page.save(root / "inbox" / "note" / "long.tiff", save_all=True, append_images=[page] * 39)
    ocr = OcrEngine(1)
    try:
        run_report = run_batch(settings(root, document_seconds=5), ocr, NOTE)
    finally:
        ocr.close()
    (entry,) = run_report.entries
    assert (entry.outcome, entry.error and entry.error[0]) == ("failed", "too_much_time")
    assert file_names(root, "failed") == ["long.tiff", "long.tiff.error.json"]


def test_many_pages_that_are_quick_do_not_suffer(root: Path) -> None:
    (root / "inbox" / "note" / "long.pdf").write_bytes(bombs.slow_pdf(300, levels=1))
    run_report = run_batch(settings(root), EchoEngine(GOOD), NOTE)
    (entry,) = run_report.entries
    assert (entry.outcome, entry.pages) == ("done", 300)


# --- a stop


class Stuck:
    """An engine that takes requests up and never answers."""

    name, page_spec = "stuck", PageSpec(max_side_px=100)

    def __init__(self) -> None:
        self.has: list[Request] = []
        self.left = False

    def unsupported_reason(self, job: Job) -> None:
        return None

    def answer(self, requests: Iterable[Request | None]) -> Iterator[Reply | None]:
        try:
            for request in requests:
                if request is not None:
                    self.has.append(request)
                while len(self.has) > 1:  # it has no room
                    yield None
        finally:
            self.left = True

    def provenance(self) -> dict[str, str]:
        return {}

    def close(self) -> None:
        pass


def events(
    pool: ProcessPool, paths: list[Path], engine: Engine, stop: Callable[[], bool], grace_s: float
) -> list[Event]:
    """What leaves the flow, but for the moments in which nothing is ready."""
    flow = Scheduler(engine, PageLoader(pool, Limits()), stop, grace_s=grace_s)
    told = flow.run(Assignment(file_document(path), [NOTE]) for path in paths)
    return [event for event in told if not isinstance(event, Idle)]


def given_out(pool: ProcessPool) -> Callable[[], bool]:
    """A stop that comes once two windows are with the decoders."""
    seen: list[int] = []

    def stop() -> bool:
        seen.extend([1] if pool.in_flight >= 2 else [])
        return bool(seen)

    return stop


def test_a_document_that_its_decoders_are_long_about_is_given_back_in_time(tmp_path: Path) -> None:
    """All its pages are given out, so it is in hand; each takes minutes."""
    (tmp_path / "a.pdf").write_bytes(bombs.slow_pdf(3, levels=6, blank=1))
    with ProcessPool(1, seconds=600, memory_mib=2048, start=warm_up) as pool:
        (item,) = events(pool, [tmp_path / "a.pdf"], EchoEngine(GOOD), given_out(pool), grace_s=0.5)
        assert isinstance(item, DocumentFinished)
        assert item.returned
        assert not pool.in_flight
        written(300, 300).save(tmp_path / "b.png")  # the decoders are well
        done = events(pool, [tmp_path / "b.png"], EchoEngine(GOOD), lambda: False, 0)
        assert [type(each) for each in done] == [Record, DocumentFinished]


@pytest.mark.parametrize("documents", [1, 3])
def test_documents_that_an_engine_is_long_about_are_given_back_in_time(tmp_path: Path, documents: int) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(documents)]
    for number, path in enumerate(paths):
        written(200 + number, 200).save(path)
    engine = Stuck()
    with ProcessPool(1, seconds=60, memory_mib=1024, start=warm_up) as pool:
        items = events(pool, paths, engine, lambda: len(engine.has) >= min(2, documents), 0.5)
        assert not pool.in_flight
    assert {item.document.name for item in items if isinstance(item, DocumentFinished) and item.returned} >= {
        request.document.name for request in engine.has
    }
    assert not [item for item in items if isinstance(item, Record)]
    assert engine.left


def test_what_is_in_hand_is_finished_in_its_grace(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(bombs.slow_pdf(3, levels=3, blank=1))
    with ProcessPool(1, seconds=60, memory_mib=2048, start=warm_up) as pool:
        record, finished = events(pool, [tmp_path / "a.pdf"], EchoEngine(GOOD), given_out(pool), grace_s=60)
    assert isinstance(record, Record)
    assert isinstance(finished, DocumentFinished)
    assert not finished.returned


def test_a_long_document_goes_back_at_a_stop_and_is_neither_lost_nor_doubled(root: Path) -> None:
    """As at the end of `--until`: the first window came back, others are with the decoders, most were not begun."""
    (root / "inbox" / "note" / "long.pdf").write_bytes(bombs.slow_pdf(12, levels=3))
    seen: list[str] = []

    def script(request: Request) -> str:
        seen.append(request.document.name)
        return GOOD["*"]

    run_report = run_batch(settings(root), EchoEngine(script), NOTE, stop=lambda: bool(seen))
    assert run_report.faults() == []
    counts = run_report.summary()
    assert (counts["taken"], counts["given_back"]) == (1, 1)
    assert file_names(root, "inbox") == ["long.pdf"]
    assert not file_names(root, "records")
    run_report = run_batch(settings(root), EchoEngine(GOOD), NOTE)
    assert [(entry.name, entry.outcome, entry.pages) for entry in run_report.entries] == [("long.pdf", "done", 12)]
    assert file_names(root, "inbox") == []
    assert file_names(root, "done") == ["long.pdf"]


def test_the_cpu_engine_says_that_it_has_no_room_and_can_be_left(tmp_path: Path) -> None:
    image = np.asarray(written(1700, 2200, 60))
    Image.fromarray(image).save(tmp_path / "a.png")
    one = file_document(tmp_path / "a.png")
    pages = [Page(number, 1700, 2200, Affine(), image) for number in range(1, 9)]
    requests = [prompt.ask(NOTE, one, pages), prompt.ask(NOTE, one, pages[:1])]
    ocr = OcrEngine(1)
    try:
        stream = ocr.answer(iter(requests))
        assert next(stream) is None  # eight pages of a second each are at work
        stream.close()  # type: ignore[attr-defined]
        short = replace(pages[0], image=np.full((60, 60, 3), 255, np.uint8), width=60, height=60)
        (reply,) = ocr.answer([prompt.ask(NOTE, one, [short])])
        assert reply is not None
        assert reply.finish == "stop"
    finally:
        ocr.close()
