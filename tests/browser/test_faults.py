"""The page over what is damaged, gone or named in an odd way: it says what is so, and shows all the rest."""

import hashlib
import io
import os
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import StorageError
from pipeline.core.types import Document, Issue, Record
from pipeline.schema.job import Job, load_jobs
from pipeline.storage.corrections import NoRecord, open_draft, save
from pipeline.storage.job_table import JobTable
from pipeline.storage.record_files import record_file
from pipeline.storage.record_store import RecordStore
from tests.support.browsing import served
from tests.support.waiting import EVENT_S

pytest.importorskip("streamlit", reason="needs the page's packages: pip install -e '.[web]'")

from web.components.theme import escape_markdown
from web.data.conversations import private
from web.data.export_files import MAX_CELL_LENGTH, csv, excel, labelled_set
from web.data.record_list import Filter, filter_records, load_records

JOB = """\
name: bill
inbox: bills
fields:
  number: {type: text, max_length: 20000}
  issued: {type: date}
"""
ASK = "name: ask\ninbox: ask\nquestions: true\nfields: {answer: {type: text}}\n"
ASKED = "20261122-101010-deadbeef-001-abcdef"  # what the page calls a question of a visitor
ESCAPES = "red\x1b[31m\x07\u202efdp.pdf"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "bill.yaml").write_text(JOB)
    (tmp_path / "jobs" / "ask.yaml").write_text(ASK)
    (tmp_path / "data").mkdir()
    return tmp_path


def jobs(top: Path) -> dict[str, Job]:
    return {job.name: job for job in load_jobs(top / "jobs")}


def commit(top: Path, name: str, data: dict[str, Any], job: str = "bill", **more: Any) -> str:
    """A record and its row, as a run leaves them; its document's id."""
    moment = datetime(2026, 11, 22, tzinfo=UTC)
    content = name.encode("utf-8", "surrogateescape")
    document = Document(hashlib.sha256(content).hexdigest(), name, Path(), "bills", moment, len(content))
    asked = replace(document, question=more.pop("question", None))
    known: dict[str, Any] = {"confidence": {}, "evidence": {}, "issues": (), "error": None} | more
    told = {"run": "night", "job_digest": jobs(top)[job].digest}
    record = Record(asked, job, None, (1,), data, provenance=told, **known)
    table = JobTable(top / "data", jobs(top)[job])
    table.add(RecordStore(top / "data").commit([record]))
    table.flush()
    return document.id


def listed(top: Path) -> list[str]:
    return [str(row["source"]) for row in filter_records(load_records(top / "data").table, Filter()).to_pylist()]


def test_an_export_holds_values_with_control_characters(top: Path) -> None:
    from openpyxl import load_workbook

    long = "x" * (MAX_CELL_LENGTH + 1)
    issue = Issue("doubtful", "", "=1+1")
    commit(top, ESCAPES, {"number": "A\x0b1\x00\uffff\n2", "issued": date(1850, 1, 2)}, issues=(issue,))
    commit(top, "long.pdf", {"number": long, "issued": date(2026, 1, 2)})
    rows = filter_records(load_records(top / "data").table, Filter())
    sheet = load_workbook(io.BytesIO(excel(top / "data", rows))).active
    assert sheet is not None
    names, *cells = ([cell.value for cell in row] for row in sheet.iter_rows())
    told = {row[names.index("source")]: dict(zip(names, row, strict=True)) for row in cells}
    odd = told["red⟨001B⟩[31m⟨0007⟩⟨202E⟩fdp.pdf"]
    assert (odd["number"], odd["issued"], odd["issues"]) == ("A⟨000B⟩1⟨0000⟩⟨FFFF⟩\n2", "1850-01-02", "'=1+1")
    assert len(told["long.pdf"]["number"]) == MAX_CELL_LENGTH
    assert told["long.pdf"]["number"].endswith("the CSV is complete)")
    assert told["long.pdf"]["issued"] == datetime(2026, 1, 2)
    plain_text = csv(top / "data", rows).decode("utf-8-sig")
    assert long in plain_text
    assert not set("\x00\x07\x0b\x1b\u202e") & set(plain_text)


def test_a_labelled_set_leaves_out_what_is_gone_and_takes_no_name_of_a_file_for_an_ending(top: Path) -> None:
    name = "scan.\\..\\evil"
    ids = {each: commit(top, each, {"number": "1", "issued": None}) for each in (name, "gone.pdf")}
    for document in ids.values():
        save(top / "data", open_draft(top / "data", jobs(top)["bill"], document, None), {}, approve=True)
    done = top / "data" / "done" / "bills" / "2026-11-22"
    done.mkdir(parents=True)
    (done / name).write_bytes(name.encode())
    rows = filter_records(load_records(top / "data").table, Filter(job="bill"))
    (top / "data" / record_file("bill", ids["gone.pdf"], None)).unlink()
    with zipfile.ZipFile(io.BytesIO(labelled_set(top / "data", jobs(top)["bill"], rows))) as pack:
        assert pack.namelist() == [f"img/{ids[name][:12]}", "labels.jsonl"]
        assert len(pack.read("labels.jsonl").splitlines()) == 1


def test_a_file_named_like_a_visitors_question_is_listed_and_a_question_is_not(top: Path) -> None:
    commit(top, ASKED, {"number": "1", "issued": None})
    commit(top, ASKED, {"answer": "secret"}, job="ask", question="What is this?")
    assert [(row["source"], row["job"]) for row in load_records(top / "data").table.to_pylist()] == [(ASKED, "bill")]
    assert [private(ASKED, job) for job in (jobs(top)["ask"], None, jobs(top)["bill"])] == [True, True, False]


def damage(folder: Path, kind: str) -> Path:
    """A file among the results that is none."""
    path, good = folder / "2026-11-21.parquet", next(folder.glob("*.parquet"))
    match kind:
        case "no parquet":
            path.write_bytes(b"nonsense")
        case "empty":
            path.touch()
        case "cut off":
            path.write_bytes(good.read_bytes()[:-100])
        case "damaged inside":
            content = bytearray(good.read_bytes())
            content[4:400] = bytes(396)
            path.write_bytes(content)
        case "other columns":
            pq.write_table(pa.table({"a": [1]}), path)
        case "other types":
            table = pq.read_table(good)
            pq.write_table(table.set_column(table.column_names.index("issues"), "issues", pa.array([1])), path)
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
    return path


@pytest.mark.parametrize(
    "kind", ["no parquet", "empty", "cut off", "damaged inside", "other columns", "other types", "folder", "pipe"]
)
def test_a_file_that_is_no_table_is_named_and_all_others_are_listed(top: Path, kind: str) -> None:
    commit(top, "good.pdf", {"number": "1", "issued": None})
    bad = damage(top / "data" / "results" / "bill", kind)
    found = load_records(top / "data")
    assert [row["source"] for row in found.table.to_pylist()] == ["good.pdf"]
    assert found.skipped == (bad,)
    assert b"good.pdf" in csv(top / "data", found.table)


def test_a_record_that_is_gone_is_told_apart_from_a_disk_that_is(top: Path) -> None:
    document = commit(top, "one.pdf", {"number": "1", "issued": None})
    root, job = top / "data", jobs(top)["bill"]
    draft = open_draft(root, job, document, None)
    (root / record_file("bill", document, None)).unlink()
    with pytest.raises(NoRecord, match="may have been deleted"):
        open_draft(root, job, document, None)
    with pytest.raises(NoRecord):
        save(root, draft, {"number": "2"})
    (root / record_file("bill", document, None)).mkdir()
    with pytest.raises(StorageError) as told:
        open_draft(root, job, document, None)
    assert not isinstance(told.value, NoRecord)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("a\x1b[31m.pdf", r"a⟨001B⟩\[31m\.pdf"),
        ("a\u202efdp.exe", r"a⟨202E⟩fdp\.exe"),
        ("\udcff", "⟨FF⟩"),
        ("two\nlines <b>", r"two lines \<b\>"),
    ],
)
def test_markdown_shows_odd_names_as_they_are(given: str, shown: str) -> None:
    assert escape_markdown(given) == shown


# ---- in the browser
@pytest.fixture
def address(top: Path) -> Iterator[str]:
    commit(top, ESCAPES, {"number": "A\x0b1", "issued": None})
    commit(top, "gone.pdf", {"number": "2", "issued": None})
    damage(top / "data" / "results" / "bill", "no parquet")
    with served(top / "data", "--jobs", str(top / "jobs")) as found:
        yield found


def test_the_list_names_a_bad_file_and_exports_what_it_shows(chrome: Any, address: str, top: Path) -> None:
    page = chrome.new_page()
    page.set_default_timeout(1000 * EVENT_S)
    page.goto(address)
    page.get_by_text("bill/2026-11-21.parquet").wait_for()
    page.locator("tbody tr", has_text="red⟨001B⟩[31m⟨0007⟩⟨202E⟩fdp.pdf").wait_for()
    page.get_by_text("Export").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Excel", exact=True).click()
    shutil.copy(download.value.path(), top / "out.xlsx")
    assert zipfile.is_zipfile(top / "out.xlsx")
    page.close()


def test_the_address_of_a_record_that_is_gone_says_so_and_leads_back(chrome: Any, address: str, top: Path) -> None:
    gone = hashlib.sha256(b"gone.pdf").hexdigest()
    (top / "data" / record_file("bill", gone, None)).unlink()
    page = chrome.new_page()
    page.set_default_timeout(1000 * EVENT_S)
    for key in (f"bill/{gone}/0", f"bill/{'0' * 64}/0", f"bill/{gone}/3", "bill/no/0"):
        page.goto(f"{address}/?record={key}")
        page.get_by_text("No record has this address.").wait_for()
        assert not page.get_by_text("Connect the disk").count()
    page.get_by_role("button", name="Back to the list").click()
    page.locator("tbody tr", has_text="gone.pdf").click()
    page.get_by_text("It may have been deleted").wait_for()
    page.close()
