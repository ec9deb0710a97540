"""Files beside records, end to end: real pictures and PDFs, the scripted engine in place of a model."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from models.scripted.echo import EchoEngine
from pipeline.core.geometry import Affine, Box
from pipeline.core.types import Document, Record
from pipeline.engine import Request
from pipeline.inbox.file_queue import Inbox
from pipeline.preprocessing.annotate import BoxAnnotation, PageAnnotator, annotated
from pipeline.preprocessing.document_reader import Bounds
from pipeline.reporting.run_report import RunReport
from pipeline.runs.commit import Committer
from pipeline.runs.session import Session
from pipeline.schema.job import Job, parse_job
from pipeline.schema.settings import Settings, load_settings
from pipeline.storage import attachments
from pipeline.storage.job_table import JobTable
from pipeline.storage.record_store import RecordStore
from pipeline.system import filesystem
from tests.support import builders
from tests.support.ear import Ear

PAGE = parse_job(b"name: screens\npreprocess: []\nfields: {it: {type: code, language: vue}}\n")
FAULTS = parse_job(
    b"name: faults\npreprocess: []\nfields:\n"
    b"  faults: {type: list, fields: {label: {type: text}, note: {type: text}, where: {type: box}}}\n"
)
VUE = "<template>\n  <p>OK</p>\n</template>\n\n<script setup>\nconst a = 1\n</script>"
ANSWER = f"Here it is:\n```vue\n{VUE}\n```\nGood luck!"
WHEN = datetime(2026, 11, 22, 3, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for job in (PAGE, FAULTS):
        (tmp_path / "inbox" / job.inbox).mkdir(parents=True)
    return load_settings(None, root=tmp_path, workers=1, settle_s=0)


def run(settings: Settings, script: dict[str, str] | Callable[[Request], str], *jobs: Job) -> RunReport:
    with Session(settings, jobs, EchoEngine(script), "echo", Ear()) as session:
        return session.batch()


def lying(root: Path) -> list[str]:
    return sorted(path.relative_to(root / "files").as_posix() for path in (root / "files").rglob("*") if path.is_file())


def records(root: Path, job: Job) -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in sorted((root / "records" / job.name).iterdir())]


def test_code_is_a_file_that_record_and_row_name(settings: Settings) -> None:
    root = settings.root
    Image.new("RGB", (60, 40), "white").save(root / "inbox" / "screens" / "log in.png")
    assert run(settings, {"*": ANSWER}, PAGE).faults() == []
    (record,) = records(root, PAGE)
    (name,) = record["files"]  # type: ignore[misc]
    assert name == f"files/screens/{record['day']}/log in-{record['document']['id'][:12]}.vue"  # type: ignore[index]
    assert (root / name).read_text() == VUE + "\n"
    assert record["data"] == {"it": VUE}
    assert (record["status"], record["issues"]) == ("ok", [])
    frame = pd.read_parquet(root / "results" / "screens")
    assert list(frame["files"].iloc[0]) == [name]
    assert pl.read_parquet(root / "results" / "screens")["it"].to_list() == [VUE]
    assert list((root / ".tmp").iterdir()) == []


def test_another_answer_replaces_the_files_and_leaves_none_behind(settings: Settings) -> None:
    root = settings.root
    picture = Image.new("RGB", (60, 40), "white")
    picture.save(root / "inbox" / "screens" / "a.png")
    run(settings, {"*": ANSWER}, PAGE)
    assert [Path(name).suffix for name in lying(root)] == [".vue"]
    html = parse_job(b"name: screens\npreprocess: []\nfields: {it: {type: code, language: html}}\n")
    picture.save(root / "inbox" / "screens" / "a.png")
    run(settings, {"*": "```html\n<p>now</p>\n```"}, html)
    (name,) = lying(root)
    assert (root / "files" / name).read_text() == "<p>now</p>\n"
    nothing = parse_job(b"name: screens\npreprocess: []\nfields: {it: {type: prose}}\n")
    picture.save(root / "inbox" / "screens" / "a.png")
    run(settings, {"*": "A login."}, nothing)
    assert lying(root) == []


def test_a_file_that_does_not_parse_is_kept_and_reviewed(settings: Settings) -> None:
    root = settings.root
    Image.new("RGB", (60, 40), "white").save(root / "inbox" / "screens" / "a.png")
    run(settings, {"*": "<length>```vue\n<template>\n<p>"}, PAGE)
    (record,) = records(root, PAGE)
    assert [issue["code"] for issue in record["issues"]] == ["truncated", "bad_text"]  # type: ignore[index,attr-defined]
    assert (root / record["files"][0]).read_text() == "<template>\n<p>\n"  # type: ignore[index]


def test_boxes_come_back_to_source_pixels_and_are_drawn(settings: Settings) -> None:
    root = settings.root
    canvas = np.full((3000, 2000, 3), 255, np.uint8)
    canvas[1000:1300, 400:800] = (0, 0, 0)
    Image.fromarray(canvas).save(root / "inbox" / "faults" / "board.png")

    def script(request: Request) -> str:
        (page,) = request.pages
        assert page.image is not None
        dark = np.argwhere(page.image[:, :, 0] < 128)  # an engine that sees, in its own pixels
        (top, left), (bottom, right) = dark.min(0).tolist(), (dark.max(0) + 1).tolist()
        return f'```json\n[\n\t{{"bbox_2d": [{left}, {top}, {right}, {bottom}], "label": "裂纹"}}\n]\n```'

    assert run(settings, script, FAULTS).faults() == []
    (record,) = records(root, FAULTS)
    (row,) = record["data"]["faults"]  # type: ignore[index]
    box = row["where"]
    assert (row["label"], row["note"], box["page"]) == ("裂纹", None, 1)
    for side, true in (("x", 400), ("y", 1000), ("width", 400), ("height", 300)):
        assert abs(float(box[side]) - true) <= 3  # a pixel of the engine's picture is 2.0 of the page's
    assert record["fields"]["faults[0].where"]["box"] == [box["x"], box["y"], box["width"], box["height"]]  # type: ignore[index]
    (name,) = record["files"]  # type: ignore[misc]
    assert name.endswith(".annotated.jpg")
    drawn = np.asarray(Image.open(root / name)).astype(int)
    assert drawn.shape == canvas.shape
    red = (drawn[..., 0] > 180) & (drawn[..., 1] < 90)
    assert red[1000 - 3 : 1300 + 3, 400 - 3 : 404].any()
    assert red[:995].sum() > 1000  # the label stands above the box
    frame = pd.read_parquet(root / "results" / "faults")
    assert frame["faults"].iloc[0][0]["where"]["page"] == 1


def test_every_page_with_boxes_has_its_picture(settings: Settings) -> None:
    root = settings.root
    pages = [Image.new("RGB", (400, 300), (shade, 250, 250)) for shade in (240, 241, 242)]
    pages[0].save(root / "inbox" / "faults" / "three.tiff", save_all=True, append_images=pages[1:])
    rows = [{"bbox_2d": [10, 10, 60, 60], "page": page, "label": "x"} for page in (1, 3)]
    run(settings, {"*": json.dumps(rows)}, FAULTS)
    (record,) = records(root, FAULTS)
    ends = [name.partition(".")[2] for name in record["files"]]  # type: ignore[attr-defined]
    assert ends == ["p0001.annotated.jpg", "p0003.annotated.jpg"]
    assert {path.suffix for path in (root / "results" / "faults").iterdir()} == {".parquet"}


def test_a_picture_that_cannot_be_drawn_costs_only_itself(tmp_path: Path) -> None:
    good = tmp_path / "good.png"
    Image.new("RGB", (80, 60), "white").save(good)
    torn = tmp_path / "torn.png"
    torn.write_bytes(good.read_bytes()[:60])
    documents = [Document(name * 64, f"{name}.png", path, "b", WHEN, 9) for name, path in (("a", good), ("b", torn))]
    drawings = PageAnnotator(tmp_path, 1, 60, 2048, Bounds())
    try:
        for document in documents:
            drawings.begin(document, {("faults", 1): [BoxAnnotation(Box(5, 5, 20, 20), "x")]})
        done = []
        while len(done) < 2:
            done += drawings.finished(None)
        assert drawings.finished(None) == []
    finally:
        drawings.close()
    assert [list(each.pictures) for each in done] == [[("faults", 1)], []]
    assert list(done[1].faults) == [("faults", 1)]
    assert [path.suffix for path in (tmp_path / ".tmp").iterdir()] == [".jpg"]


def test_two_documents_with_the_same_bytes_do_not_wait_for_each_other_for_ever(settings: Settings) -> None:
    root = settings.root
    for name in ("a.png", "b.png"):
        Image.new("RGB", (200, 200), "white").save(root / "inbox" / "faults" / name)
    run_report = run(settings, {"*": '[{"bbox_2d": [10, 10, 60, 60], "label": "x"}]'}, FAULTS)
    assert run_report.faults() == []
    assert (run_report.summary()["done"], run_report.summary()["duplicate"]) == (1, 1)


def test_boxes_are_drawn_on_turned_pages_too_and_at_the_edges() -> None:
    page = np.full((60, 90, 3), 255, np.uint8)  # drawn half as large as its source, and turned to the right
    to_source = Affine(0, 2, 0, -2, 0, 180)
    corners = [
        BoxAnnotation(Box(-5, 160, 25, 25), "a"),
        BoxAnnotation(Box(100, -20, 30, 30), "很长的标签" * 9),
        BoxAnnotation(Box(20, 20, 0, 0), ""),
    ]
    drawn = annotated(page, to_source, corners)
    assert drawn.shape == page.shape
    assert (page == 255).all()
    assert tuple(drawn[10, 5]) == (214, 39, 40)  # the lower edge of the first box
    assert ((drawn[12:30, :20] == (214, 39, 40)).all(axis=2)).mean() > 0.3  # its label, below it: above is no room


# --- the store


def record(name: str = "a.png", page: int | None = None, job: Job = PAGE) -> Record:
    document = builders.document(name, job.inbox, id="ab" * 32, received_at=WHEN)
    return builders.record({"it": VUE}, job, page, document=document)


def test_a_run_that_died_between_file_and_record_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "inbox" / "screens").mkdir(parents=True)
    (tmp_path / "inbox" / "screens" / "a.png").write_bytes(b"x")
    dead = Inbox(tmp_path, "dead", settle_s=0)
    (claim,) = [claim for claim in dead.claims(["screens"]) if claim]
    day = tmp_path / "files" / "screens" / "2026-11-22"
    day.mkdir(parents=True)
    stray = day / f"a-{claim.document.id[:12]}.vue"
    other = day / "a-0123456789ab.vue"
    stray.write_text("half of an answer")
    other.write_text("another document's")
    dead.close()
    inbox, store = Inbox(tmp_path, "next", settle_s=0), RecordStore(tmp_path)
    committer = Committer(inbox, store, {"screens": JobTable(tmp_path, PAGE)})
    assert committer.recover({"screens": [PAGE]}, lambda run: False) == (0, 1)
    assert not stray.exists()
    assert other.exists()


def test_files_named_by_a_record_that_people_wrote_are_not_removed_elsewhere(tmp_path: Path) -> None:
    kept = tmp_path / "files" / "kept.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    store = RecordStore(tmp_path)
    (first,) = store.commit([record()], {None: list(attachments.texts(PAGE, record()))})
    path = tmp_path / "records" / "screens" / f"{first.document.id}.json"
    lies = ["files/../files/kept.txt", "files/kept.txt", "../kept.txt", "files/screens/../kept.txt", "/etc/passwd"]
    path.write_text(path.read_text().replace(json.dumps(first.files[0], ensure_ascii=False), json.dumps(lies)[1:-1]))
    store.commit([record()])
    assert kept.read_text() == "mine"


@given(name=st.text(min_size=1, max_size=300), page=st.none() | st.integers(1, 9999))
def test_no_name_of_a_document_leads_elsewhere(name: str, page: int | None) -> None:
    found = attachments.file_name(record(name, page), ".where.md")
    assert filesystem.child(found) == found
    assert not found.startswith(".")
    assert len(found.encode()) <= 255
    assert found.endswith(f"-{'ab' * 6}{f'.p{page:04}' if page else ''}.where.md")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("sub/../../../etc/passwd", "passwd"),
        ("a\\b:c?.pdf", "a_b_c_"),
        (".hidden.pdf", "hidden"),
        ("发票.pdf", "发票"),
        ("no suffix", "no suffix"),
        ("a\nb\x00.png", "a_b_"),
        ("..", "document"),
        ("\udcff.png", "�"),
    ],
)
def test_names_of_files(name: str, file: str) -> None:
    assert attachments.file_name(record(name), ".vue") == f"{file}-abababababab.vue"


def test_several_files_of_one_record_are_told_apart_by_their_field(tmp_path: Path) -> None:
    job = parse_job(
        b"name: m\nfields:\n  table: {type: markdown}\n  note: {type: prose}\n"
        b"  parts: {type: list, fields: {code: {type: code, language: python}}}\n"
    )
    data = {"table": "|a|\n|-|\n|1|", "note": "x", "parts": [{"code": "a = 1"}, {"code": None}, {"code": "b = 2"}]}
    one = record(job=job)
    made = list(attachments.texts(job, Record(one.document, "m", None, (1,), data, {}, {}, (), None, {})))
    assert [each.suffix for each in made] == [".table.md", ".parts-0.code.py", ".parts-2.code.py"]
    assert made[1].content == b"a = 1\n"
