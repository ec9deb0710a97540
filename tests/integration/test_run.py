"""A whole run over a real root: real files, real decoders, real tables; only the model is scripted."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from models.scripted.echo import EchoEngine
from pipeline.core.errors import BusyError, ConfigError
from pipeline.engine import Request
from pipeline.reporting.run_report import ReportEntry, RunReport
from pipeline.runs.session import Session
from pipeline.schema.job import Job, parse_job
from pipeline.schema.settings import Settings, load_settings
from tests.support.builders import drop_image, files, run_batch
from tests.support.ear import Ear
from tests.support.handmade import Leaf, pdf, text
from tests.support.waiting import wait_until

PROJECT = Path(__file__).parents[2]
NOTE = parse_job(b"name: note\npreprocess: []\nfields: {number: {type: text, required: true}, total: {type: money}}\n")
GOOD = '{"number": "A-1", "total": "12.50"}'


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "inbox" / "note").mkdir(parents=True)
    return load_settings(None, root=tmp_path, workers=2, settle_s=0)


def batch(settings: Settings, model: EchoEngine, *jobs: Job, **options: object) -> RunReport:
    return run_batch(settings, model, *(jobs or [NOTE]), **options)


def test_every_document_ends_in_one_place_and_the_table_has_it(settings: Settings) -> None:
    root = settings.root
    drop_image(root, "good.png", 1)
    drop_image(root, "doubt.png", 2)
    (root / "inbox" / "note" / "empty.pdf").touch()
    (root / "inbox" / "note" / "half.pdf.part").write_bytes(b"%PDF")
    run_report = batch(settings, EchoEngine({"doubt.png": '{"number": null}', "*": GOOD}))
    assert run_report.faults() == []
    assert run_report.summary()["records"] == {"ok": 1, "review": 1, "failed": 1}
    table = pd.read_parquet(root / "results" / "note").set_index("source")
    assert table["status"].to_dict() == {"good.png": "ok", "doubt.png": "review", "empty.pdf": "failed"}
    assert str(table.loc["good.png", "total"]) == "12.50"
    assert [Path(name).name for name in files(root, "done")] == ["doubt.png", "good.png"]
    assert files(root, "failed") == ["note/empty.pdf", "note/empty.pdf.error.json"]
    assert json.loads((root / "failed/note/empty.pdf.error.json").read_text())["code"] == "empty"
    assert files(root, "inbox") == ["note/half.pdf.part"]
    assert not (root / "working").exists() or files(root, "working") == []
    assert len(files(root, "runs")) == 2


def test_the_same_bytes_are_read_once_and_again_when_the_job_changes(settings: Settings) -> None:
    root = settings.root
    drop_image(root, "a.png")
    drop_image(root, "twin.png")
    first = batch(settings, EchoEngine({"*": GOOD})).summary()
    assert (first["done"], first["duplicate"]) == (1, 1)
    drop_image(root, "again.png")
    assert batch(settings, EchoEngine({"*": GOOD})).summary()["duplicate"] == 1
    changed = parse_job(b"name: note\npreprocess: []\nfields: {number: {type: text}, place: {type: text}}\n")
    drop_image(root, "once more.png")
    assert batch(settings, EchoEngine({"*": '{"number": "B-2", "place": "Ulm"}'}), changed).summary()["done"] == 1
    table = pd.read_parquet(root / "results" / "note")
    assert table[["number", "place"]].to_numpy().tolist() == [["B-2", "Ulm"]]
    assert "total" not in table


def test_no_page_is_left_out_silently(settings: Settings) -> None:
    """Nine pages, of which the sixth is broken, in windows of four; another job wants a row a page."""
    whole = parse_job(b"name: note\npreprocess: []\nwindow: 4\nfields: {total: {type: money}}\n")
    each = parse_job(b"name: page\ninbox: note\npreprocess: []\nper: page\nwindow: 4\nfields: {n: {type: integer}}\n")
    path = pdf(settings.root / "inbox" / "note" / "a.pdf", [Leaf(text(f"page {n}")) for n in range(1, 10)])
    path.write_bytes(path.read_bytes().replace(b"20 0 obj\n<< /Type /Page ", b"20 0 obj\n<< /Type /Pale "))
    asked: list[Request] = []

    def script(request: Request) -> str:
        asked.append(request)
        if request.job.name == "page":
            return f'{{"n": {request.pages[0].number}}}'
        return '{"total": "1.00"}' if request.window == 1 else "{}"

    batch(settings, EchoEngine(script), whole, each)
    windows = [request for request in asked if request.job.name == "note"]
    assert [[page.number for page in request.pages] for request in windows] == [[1, 2, 3, 4], [5, 6, 7, 8], [9]]
    (row,) = pd.read_parquet(settings.root / "results" / "note").to_dict("records")
    assert list(row["pages"]) == list(range(1, 10))
    assert (row["status"], str(row["total"])) == ("review", "1.00")
    assert [issue["code"] for issue in row["issues"]] == ["unreadable"]
    assert row["issues"][0]["message"].startswith("page 6 could not be read")
    rows = pd.read_parquet(settings.root / "results" / "page").sort_values("page")
    assert rows["page"].tolist() == list(range(1, 10))
    assert rows["status"].tolist() == ["ok"] * 5 + ["review"] + ["ok"] * 3
    pages: dict[int, set[int]] = {}
    for request in asked:
        for page in request.pages:
            pages.setdefault(page.number, set()).add(id(page))
    assert all(len(seen) == 1 for seen in pages.values())  # both jobs got the very same decoded page


def test_several_jobs_on_one_inbox_answer_every_document(settings: Settings) -> None:
    other = parse_job(b"name: place\ninbox: note\npreprocess: []\nfields: {place: {type: text}}\n")
    drop_image(settings.root, "a.png")

    def script(request: object) -> str:
        return GOOD if request.job.name == "note" else '{"place": "Ulm"}'  # type: ignore[attr-defined]

    run_report = batch(settings, EchoEngine(script), NOTE, other)
    assert run_report.summary()["records"]["ok"] == 2
    assert pd.read_parquet(settings.root / "results" / "place")["place"].tolist() == ["Ulm"]


def test_per_page_gives_a_row_a_page_and_windows_join_a_long_document(settings: Settings) -> None:
    frames = [Image.new("RGB", (60, 40), (number, 0, 0)) for number in range(6)]
    frames[0].save(settings.root / "inbox/note/six.tiff", save_all=True, append_images=frames[1:])
    paged = parse_job(b"name: paged\ninbox: note\nper: page\npreprocess: []\nfields: {number: {type: text}}\n")
    listed = parse_job(
        b"name: listed\ninbox: note\nwindow: 2\npreprocess: []\n"
        b"fields: {number: {type: text}, lines: {type: list, item: {type: text}}}\n"
    )

    def script(request: object) -> str:
        numbers = [page.number for page in request.pages]  # type: ignore[attr-defined]
        return json.dumps({"number": "N", "lines": [f"line {number}" for number in numbers]})

    assert batch(settings, EchoEngine(script), paged, listed).faults() == []
    assert pd.read_parquet(settings.root / "results" / "paged")["page"].tolist() == [1, 2, 3, 4, 5, 6]
    rows = pd.read_parquet(settings.root / "results" / "listed")
    assert list(rows["lines"][0]) == [f"line {number}" for number in range(1, 7)]
    assert list(rows["pages"][0]) == [1, 2, 3, 4, 5, 6]


def test_an_engine_that_fails_for_one_document_costs_that_document(settings: Settings) -> None:
    drop_image(settings.root, "bad.png", 1)
    drop_image(settings.root, "good.png", 2)
    run_report = batch(settings, EchoEngine({"bad.png": "<error>out of memory", "*": GOOD}))
    assert (run_report.summary()["done"], run_report.summary()["failed"]) == (1, 1)
    note = json.loads((settings.root / "failed/note/bad.png.error.json").read_text())
    assert (note["code"], note["detail"]) == ("engine", "out of memory")


def test_what_a_run_that_was_cut_off_had_left_stands_in_the_next_account(settings: Settings) -> None:
    """Also where nothing else came."""
    left = settings.root / "working" / "2026-01-01T020000.000-scanhost-1" / "other" / "a.png"
    left.parent.mkdir(parents=True)
    drop_image(settings.root, "a.png").rename(left)
    with Session(settings, [NOTE], EchoEngine({"*": GOOD}), "echo", Ear()) as session:
        first, second = session.batch(), session.batch()
    assert first.notes == ["a run before this one was cut off: 0 finished, 1 given back to the inbox"]
    assert first.written
    assert first.notes[0][1:] in first.written.read_text()
    assert (second.notes, second.written) == ([], None)


def test_broken_files_wait_for_no_engine(settings: Settings) -> None:
    waiting: list[int] = []

    class Watching(Ear):
        def finished(self, entry: ReportEntry) -> None:
            waiting.append(len(list((settings.root / "inbox" / "note").iterdir())))

    for number in range(60):
        (settings.root / "inbox" / "note" / f"{number}.pdf").write_bytes(b"%PDF-1.4 torn" + bytes([number]))
    assert batch(settings, EchoEngine({}), ear=Watching()).summary()["failed"] == 60
    assert waiting[0] > 30


def test_limit_and_stop_leave_the_rest_in_the_inbox(settings: Settings) -> None:
    for number in range(6):
        drop_image(settings.root, f"{number}.png", number)
    assert batch(settings, EchoEngine({"*": GOOD}), limit=2).summary()["taken"] == 2
    run_report = batch(settings, EchoEngine({"*": GOOD}), stop=lambda: True)
    assert run_report.faults() == []
    assert run_report.summary()["done"] == 0
    assert len(files(settings.root, "inbox")) == 4


class _Refuses(EchoEngine):
    def unsupported_reason(self, job: Job) -> str | None:
        return "only an engine that looks can answer" if job.inbox != "note" else None


def test_jobs_that_wait_for_another_engine_keep_their_documents(settings: Settings) -> None:
    describe = parse_job(b"name: describe\nfields: {words: {type: text}}\n")
    drop_image(settings.root, "a.png")
    drop_image(settings.root, "b.png", inbox="describe")
    drop_image(settings.root, "c.png", inbox="dials")
    gauge, needle = (parse_job(f"name: {name}\ninbox: dials\nfields: {{x: {{type: text}}}}".encode()) for name in "gn")
    idle = parse_job(b"name: idle\nfields: {x: {type: text}}\n")
    ear = Ear()
    run_report = batch(settings, _Refuses({"*": GOOD}), NOTE, describe, gauge, needle, idle, ear=ear)
    assert run_report.summary()["done"] == 1
    assert files(settings.root, "inbox") == ["describe/b.png", "dials/c.png"]
    line = "2 documents wait in the inbox: describe, g, n (only an engine that looks can answer)"
    assert [note for note in ear.notes if "wait" in note] == [line]
    assert run_report.left == [line]
    assert line in run_report.notes


def test_a_root_without_an_inbox_and_a_root_in_use_are_refused(settings: Settings, tmp_path: Path) -> None:
    empty = settings.model_copy(update={"root": tmp_path / "nowhere"})
    with pytest.raises(ConfigError, match="mkdir -p"):
        batch(empty, EchoEngine({}))
    assert not (tmp_path / "nowhere").exists()
    with Session(settings, [NOTE], EchoEngine({}), "echo", Ear()), pytest.raises(BusyError, match=str(os.getpid())):
        batch(settings, EchoEngine({}))


@pytest.fixture
def root_with_script(settings: Settings) -> list[str]:
    """A root with 30 documents and a slow-ish scripted engine, as the command line runs it."""
    root = settings.root
    for number in range(30):
        drop_image(root, f"{number:02}.png", number)
    (root / "jobs").mkdir()
    (root / "jobs" / "note.yaml").write_text("preprocess: []\nfields: {number: {type: text}, total: {type: money}}\n")
    (root / "replies.json").write_text(json.dumps({"*": GOOD}))
    (root / "config.yaml").write_text(f"engine: echo\nweights: {root / 'replies.json'}\nsettle_s: 0\nworkers: 2\n")
    return [
        sys.executable,
        str(PROJECT / "run_batch.py"),
        *("--root", str(root), "--config", str(root / "config.yaml"), "--jobs", str(root / "jobs")),
    ]


def test_a_killed_run_is_finished_by_the_next(root_with_script: list[str], settings: Settings) -> None:
    """SIGKILL after several numbers of records; at the end each document is in done/ once and has one row."""
    for count in (1, 6, 13, 22):
        with subprocess.Popen(root_with_script, stderr=subprocess.DEVNULL) as process:
            wait_until(lambda count=count: len(files(settings.root, "records")) >= count, every_s=0.005)
            process.send_signal(signal.SIGKILL)
    assert subprocess.run(root_with_script, stderr=subprocess.DEVNULL, check=False).returncode == 0
    assert files(settings.root, "inbox") == []
    assert [Path(name).name for name in files(settings.root, "done")] == [f"{n:02}.png" for n in range(30)]
    table = pd.read_parquet(settings.root / "results" / "note")
    assert sorted(table["source"]) == [f"{n:02}.png" for n in range(30)]
    assert files(settings.root, "duplicate") == []
    assert files(settings.root, ".tmp") == []


WATCHED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from run_batch import main
from tests.stress import launch
launch.watch(Path(sys.argv[2]), lambda what: print(what, flush=True))
main(sys.argv[3:])
"""


def without_live_status(changes: list[str]) -> list[str]:
    """The changes but for those of the live status, which is written again each time that a second has passed."""
    kept: list[str] = []
    for change in changes:
        if change == "rename .live.json":
            assert kept.pop() == "write .tmp"
        else:
            kept.append(change)
    return kept


def test_the_order_of_a_commit(root_with_script: list[str], settings: Settings) -> None:
    """No power cut may find rows without records, or an original in done/ whose records the disk does not have."""
    words = [sys.executable, "-c", WATCHED, str(PROJECT), str(settings.root), *root_with_script[2:], "--limit", "1"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    changes = without_live_status(done.stdout.splitlines())
    record, rows, moved = (changes.index(what) for what in ("rename records", "rename results", "link done"))
    made = next(at for at in range(record, rows) if changes[at] == "write .tmp")  # the table's new file
    assert changes[record:made].count("fsync") == 2, "the record, and the folder that names it"
    assert changes[made:rows].count("fsync") == 1
    assert changes[rows:moved].count("fsync") == 1
    assert changes.index("remove working") > moved
