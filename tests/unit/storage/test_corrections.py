"""What a person changes stays: in the record, in the table, and beside what others change at the same moment."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.core.geometry import Box
from pipeline.core.types import Evidence, Issue, Record
from pipeline.schema.job import Job, parse_job
from pipeline.storage import attachments
from pipeline.storage.corrections import Draft, EditConflict, check, open_draft, save
from pipeline.storage.job_table import JobTable
from pipeline.storage.record_store import RecordStore
from pipeline.storage.save_marker import repair
from pipeline.system.locks import writing
from tests.support import builders

FIELDS: dict[str, Any] = {
    "number": {"type": "text", "required": True},
    "issued": {"type": "date", "order": "DMY"},
    "total": {"type": "money", "required": True},
    "supplier": {"type": "group", "fields": {"name": {"type": "text"}}},
    "lines": {"type": "list", "fields": {"text": {"type": "text"}, "amount": {"type": "money"}}},
}
JOB = Job.model_validate({"name": "invoice", "fields": FIELDS, "rules": ["sum(lines.amount) == total"]})
DATA: dict[str, Any] = {
    "number": "R-1",
    "issued": date(2026, 11, 3),
    "total": Decimal("30.00"),
    "supplier": {"name": "Aurora"},
    "lines": [{"text": "bolt", "amount": Decimal("10.00")}, {"text": "nut", "amount": Decimal("2.00")}],
}


def record(number: int = 0, **changes: Any) -> Record:
    given: dict[str, Any] = {
        "document": builders.document(f"{number}.pdf", "invoice"),
        "confidence": {"total": 0.3, "lines[1].amount": 0.9},
        "evidence": {"total": Evidence(1, Box(1, 2, 3, 4), "30.00"), "lines[1].amount": Evidence(1, None, "2.00")},
        "issues": (Issue("doubtful", "total", "sure to 0.30"), Issue("rule_failed", "total", "does not hold")),
    }
    return builders.record(DATA, JOB, None, "night", **given | changes)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    commit(tmp_path, [record(0), record(1)])
    return tmp_path


def commit(root: Path, records: list[Record], job: Job = JOB) -> None:
    store, table = RecordStore(root), JobTable(root, job)
    for each in records:
        table.add(store.commit([each]))
    table.flush()


def opened(root: Path, number: int = 0) -> Draft:
    return open_draft(root, JOB, record(number).document.id, None)


def row(root: Path, number: int = 0) -> dict[str, Any]:
    rows = [each for path in (root / "results" / "invoice").iterdir() for each in pq.read_table(path).to_pylist()]
    return next(each for each in rows if each["document_id"] == record(number).document.id)


def stored(root: Path, number: int = 0) -> dict[str, Any]:
    found = json.loads((root / "records" / "invoice" / f"{record(number).document.id}.json").read_text("utf-8"))
    assert isinstance(found, dict)
    return found


def test_a_correction_changes_record_and_row_and_keeps_what_the_machine_said(root: Path) -> None:
    save(root, opened(root), {"total": "12,00 €"}, by="Ada")
    kept = stored(root)
    assert kept["data"]["total"] == 12
    (change,) = kept["corrections"]
    assert (change["path"], change["machine"], change["person"], change["by"]) == ("total", 30, 12, "Ada")
    assert kept["status"] == "ok"  # the rule holds now, and the doubt is settled
    assert (row(root)["total"], row(root)["status"]) == (Decimal("12.00"), "ok")
    assert row(root)["confidence"]["total"] is None
    assert row(root, 1)["total"] == Decimal("30.00")


def test_a_value_is_judged_as_the_pipeline_judges_it(root: Path) -> None:
    draft = opened(root)
    checked = check(draft, {"issued": "31.02.2026", "total": "", "nothing": "x"})
    assert "31.02.2026" in checked.problems["issued"]
    assert "nothing" in checked.problems
    assert [issue.code for issue in checked.record.issues if issue.path == "total"] == ["missing"]
    with pytest.raises(ValueError, match="issued"):
        save(root, draft, {"issued": "31.02.2026"})
    assert "corrections" not in stored(root)


def test_approved_is_ok_whatever_the_rules_say_until_somebody_changes_it(root: Path) -> None:
    draft = save(root, opened(root), {}, approve=True, by="Ada")
    assert (stored(root)["status"], row(root)["status"]) == ("ok", "ok")
    assert row(root)["issues"]  # they stay written: this is what the person saw
    save(root, draft, {"number": "R-2"})
    assert (stored(root)["status"], row(root)["status"]) == ("review", "review")


def test_the_second_to_save_is_told_and_sees_the_others_values(root: Path) -> None:
    mine, theirs = opened(root), opened(root)
    save(root, theirs, {"number": "THEIRS"}, by="Ada")
    with pytest.raises(EditConflict, match="Ada") as told:
        save(root, mine, {"number": "MINE"})
    assert told.value.theirs.record.data["number"] == "THEIRS"
    assert stored(root)["data"]["number"] == "THEIRS"


def test_rows_are_dropped_and_added_and_what_is_known_of_them_moves_along(root: Path) -> None:
    draft = save(root, opened(root), {"lines[1].text": "gear", "lines[1].amount": "28"}, {"lines": [1, None]}, by="Ada")
    assert draft.record.data["lines"] == [
        {"text": "nut", "amount": Decimal("2.00")},
        {"text": "gear", "amount": Decimal("28.00")},
    ]
    assert draft.record.confidence["lines[0].amount"] == 0.9
    assert "lines[0].amount" in draft.record.evidence
    (change,) = draft.record.corrections
    assert change.path == "lines"
    assert [line["text"] for line in change.machine] == ["bolt", "nut"]
    assert row(root)["lines"][1]["text"] == "gear"


def test_the_places_of_a_text_s_lines_stay_when_another_value_is_corrected(tmp_path: Path) -> None:
    job = Job.model_validate({"name": "invoice", "fields": {"text": {"type": "prose"}, "number": {"type": "text"}}})
    line = Evidence(1, Box(1, 2, 3, 4), "one")
    commit(tmp_path, [record(data={"text": "one", "number": "1"}, evidence={"text[0]": line}, confidence={})], job)
    draft = open_draft(tmp_path, job, record().document.id, None)
    assert save(tmp_path, draft, {"number": "2"}).record.evidence == {"text[0]": line}


BOXED = Job.model_validate(
    {
        "name": "invoice",
        "fields": {
            "stamp": {"type": "box", "required": True},
            "marks": {"type": "list", "fields": {"kind": {"type": "text"}, "box": {"type": "box"}}},
        },
    }
)
DRAWN = {"page": 2, "x": 10.5, "y": 20, "width": 30, "height": 40}


def test_a_box_that_a_person_drew_is_one_correction_and_stands_where_it_was_drawn(tmp_path: Path) -> None:
    was = {"page": 1, "x": 1.0, "y": 2.0, "width": 3.0, "height": 4.0}
    seen = {path: Evidence(1, Box(1, 2, 3, 4), "") for path in ("stamp", "marks[0].box")}
    data = {"stamp": was, "marks": [{"kind": "seal", "box": was}]}
    commit(tmp_path, [record(data=data, confidence={"stamp": 0.4}, evidence=seen, issues=())], BOXED)
    draft = open_draft(tmp_path, BOXED, record().document.id, None)
    draft = save(tmp_path, draft, {"stamp": DRAWN, "marks[0].box": ""})
    assert {change.path: change.person for change in draft.record.corrections} == {"stamp": DRAWN, "marks[0].box": None}
    assert draft.record.evidence == {"stamp": Evidence(2, Box(10.5, 20, 30, 40), "")}
    written = pq.read_table(next((tmp_path / "results" / "invoice").iterdir())).to_pylist()[0]
    assert (written["stamp"], written["marks"][0]["box"]) == (DRAWN, None)
    assert check(draft, {"stamp": ""}).record.issues == (Issue("missing", "stamp", "is required and was not found"),)
    assert "numbers" in check(draft, {"stamp": {"page": 1, "x": "a"}}).problems["stamp"]
    back = save(tmp_path, draft, {"stamp": was, "marks[0].box": was})
    assert back.record.corrections == ()


def test_a_value_set_back_is_no_correction(root: Path) -> None:
    draft = save(root, opened(root), {"supplier.name": "Borealis"})
    assert len(draft.record.corrections) == 1
    assert save(root, draft, {"supplier.name": "Aurora"}).record.corrections == ()


MEASURED = Job.model_validate(
    {
        "name": "invoice",
        "fields": {
            "pressure": {"type": "measure", "unit": "kPa"},
            "rows": {"type": "list", "fields": {"weight": {"type": "measure", "unit": "kg"}}},
        },
    }
)


def measured(root: Path) -> Draft:
    data = {"pressure": 1.15, "pressure_printed": "1.15 kPa", "rows": [{"weight": 2.0, "weight_printed": "2 kg"}]}
    commit(root, [record(data=data, confidence={}, evidence={}, issues=())], MEASURED)
    return open_draft(root, MEASURED, record().document.id, None)


def test_what_a_person_writes_for_a_measure_is_how_it_is_printed(tmp_path: Path) -> None:
    draft = save(tmp_path, measured(tmp_path), {"pressure": "1.3 MPa", "rows[0].weight": ""}, {"rows": [0, None]})
    written = pq.read_table(next((tmp_path / "results" / "invoice").iterdir())).to_pylist()[0]
    assert (written["pressure"], written["pressure_printed"]) == (1300.0, "1.3 MPa")
    assert written["rows"] == [{"weight": None, "weight_printed": None}] * 2
    assert {change.path: change.machine for change in draft.record.corrections if "pressure" in change.path} == {
        "pressure": Decimal("1.15"),
        "pressure_printed": "1.15 kPa",
    }


def test_a_measure_that_is_set_back_has_its_print_again(tmp_path: Path) -> None:
    draft = save(tmp_path, measured(tmp_path), {"pressure": "1.3"})
    back = save(tmp_path, draft, {"pressure": "1.15"})
    assert back.record.data["pressure_printed"] == "1.15 kPa"
    assert back.record.corrections == ()


def test_making_the_table_again_keeps_corrections(root: Path) -> None:
    save(root, opened(root), {"number": "R-9"}, approve=True)
    before = row(root)
    JobTable(root, JOB).rebuild()
    assert row(root) == before
    assert before["number"] == "R-9"


def test_what_no_longer_fits_the_job_is_kept(root: Path) -> None:
    smaller = Job.model_validate({"name": "invoice", "fields": {"number": FIELDS["number"], "total": FIELDS["total"]}})
    save(root, open_draft(root, smaller, record().document.id, None), {"number": "R-5"})
    assert stored(root)["data"]["supplier"] == {"name": "Aurora"}
    assert (stored(root)["data"]["number"], row(root)["number"]) == ("R-5", "R-1")  # the next run makes the table again
    JobTable(root, smaller).repair()
    assert row(root)["number"] == "R-5"


def test_no_engine_overwrites_what_a_person_settled(root: Path) -> None:
    other = Job.model_validate({"name": "invoice", "fields": {**FIELDS, "more": {"type": "text"}}})
    assert not RecordStore(root).answered(other, record().document.id)
    save(root, opened(root), {}, approve=True)
    assert RecordStore(root).answered(other, record().document.id)
    assert not RecordStore(root).answered(other, record(1).document.id)


def test_what_a_person_settled_while_it_was_read_again_stands(root: Path) -> None:
    save(root, opened(root), {"number": "HERS", "total": "12.00"}, approve=True, by="Ada")
    before = row(root)
    commit(root, [record(0, provenance={"run": "later", "job_digest": "another"})])
    assert stored(root)["data"]["number"] == "HERS"
    assert row(root) == before


def test_what_a_person_saves_before_a_run_writes_the_row_is_in_the_row(root: Path) -> None:
    store, table = RecordStore(root), JobTable(root, JOB)
    table.add(store.commit([record(0, provenance={"run": "now", "job_digest": JOB.digest})]))
    save(root, opened(root), {"number": "X"})
    assert (row(root)["number"], row(root)["run"]) == ("X", "now")
    table.flush()
    assert row(root)["number"] == "X"


RUN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.unit.storage.test_corrections import JOB, RecordStore, JobTable, record
root = Path(sys.argv[1])
store, table = RecordStore(root), JobTable(root, JOB)
print("at work", flush=True)
for number in range(2, 62):
    table.add(store.commit([record(number)]))
    table.flush()
"""


def test_a_run_and_a_person_write_the_same_day_and_neither_loses_a_row(root: Path) -> None:
    command = [sys.executable, "-c", RUN, str(root), str(Path(__file__).parents[3])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "at work\n"
        draft, saved = opened(root), 0
        while run.poll() is None:
            saved += 1
            draft = save(root, draft, {"number": f"R-{saved}"})
        assert run.returncode == 0
    assert saved > 3
    rows = [each for path in (root / "results" / "invoice").iterdir() for each in pq.read_table(path).to_pylist()]
    assert len(rows) == len({each["document_id"] for each in rows}) == 62
    assert row(root)["number"] == stored(root)["data"]["number"] == f"R-{saved}"


PERSON = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.unit.storage.test_corrections import EditConflict, opened, save
root, name, done = Path(sys.argv[1]), sys.argv[3], 0
while done < 20:
    draft = opened(root)
    count = int(draft.record.data["number"].partition("-")[2])
    try:
        save(root, draft, {"number": f"R-{count + 1}"}, by=name)
        done += 1
    except EditConflict:
        pass
"""


def people(root: Path) -> Iterator["subprocess.Popen[bytes]"]:
    for name in ("Ada", "Grace"):
        yield subprocess.Popen([sys.executable, "-c", PERSON, str(root), str(Path(__file__).parents[3]), name])


def test_of_two_people_who_save_at_once_none_is_lost(root: Path) -> None:
    """Each counts the number up; a save that overwrote another's would count one too few."""
    at_work = list(people(root))
    assert [each.wait(60) for each in at_work] == [0, 0]
    assert stored(root)["data"]["number"] == row(root)["number"] == "R-41"


def test_writers_of_a_job_wait_for_each_other(root: Path) -> None:
    code = "import sys, pathlib, pipeline.system.locks as lock\n"
    code += "with lock.writing(pathlib.Path(sys.argv[1]), 'invoice'): pass"
    with writing(root, "invoice"):
        other = subprocess.Popen([sys.executable, "-c", code, str(root)])
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(1.5)
    assert other.wait(60) == 0


def test_corrected_code_is_written_to_its_file_too(tmp_path: Path) -> None:
    job = parse_job(b"name: invoice\nfields: {data: {type: code, language: json}, note: {type: markdown}}")
    made = record(data={"data": "[1]", "note": None}, confidence={}, evidence={}, issues=())
    store, table = RecordStore(tmp_path), JobTable(tmp_path, job)
    table.add(store.commit([made], {None: list(attachments.texts(job, made))}))
    table.flush()
    opened = open_draft(tmp_path, job, made.document.id, None)
    (code,) = opened.record.files
    assert (tmp_path / code).read_text() == "[1]\n"
    saved = save(tmp_path, opened, {"data": "[2]", "note": "# Two"})
    assert (tmp_path / code).read_text() == "[2]\n"
    assert [(tmp_path / name).read_text() for name in saved.record.files] == ["[2]\n", "# Two\n"]
    assert row(tmp_path)["files"] == list(saved.record.files)
    saved = save(tmp_path, saved, {"data": ""})
    assert not (tmp_path / code).exists()
    assert [name[-3:] for name in saved.record.files] == [".md"]


CUT = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.unit.storage.test_corrections import opened, save
from pipeline.storage.job_table import JobTable
JobTable.update_rows = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
save(Path(sys.argv[1]), opened(Path(sys.argv[1])), {"number": "R-9"})
"""


def cut_off(root: Path) -> None:
    """A save that dies between the record and its row."""
    done = subprocess.run([sys.executable, "-c", CUT, str(root), str(Path(__file__).parents[3])], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (stored(root)["data"]["number"], row(root)["number"]) == ("R-9", "R-1")


def test_a_save_that_was_killed_before_the_row_is_ended_by_the_next_save(root: Path) -> None:
    cut_off(root)
    save(root, opened(root, 1), {"number": "other"})
    assert (row(root)["number"], row(root, 1)["number"]) == ("R-9", "other")
    assert list((root / ".locks").glob("*.saving")) == []


def test_a_save_that_was_killed_before_the_row_is_ended_by_the_next_run(root: Path) -> None:
    cut_off(root)
    repair(root, JOB)
    assert row(root)["number"] == "R-9"
    repair(root, JOB)  # and then there is nothing to do


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\xff\xfe\x00",
        b"a\nb\0c",
        b"../../etc/passwd",
        b"/etc/passwd",
        b"records/invoice/../../x.json",
        b"\x1b[2J",
    ],
)
def test_a_note_of_a_save_that_names_no_record_is_removed_and_told(
    root: Path, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    note = root / ".locks" / "invoice.saving"
    note.write_bytes(garbage)
    repair(root, JOB)
    assert "invoice.saving names no record" in caplog.text
    assert not note.exists()
    save(root, opened(root), {"number": "R-2"})


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("nowhere", path)])
def test_a_note_of_a_save_that_is_no_file_stops_nothing(
    root: Path, make: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    note = root / ".locks" / "invoice.saving"
    make(note)
    repair(root, JOB)
    assert "invoice.saving names no record" in caplog.text
    assert not os.path.lexists(note)


def test_a_damaged_record_under_a_cut_off_save_is_named_and_stops_nothing(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cut_off(root)
    damaged = root / "records" / "invoice" / f"{record(0).document.id}.json"
    damaged.write_text("{", "utf-8")
    repair(root, JOB)
    assert re.search(f"{damaged.name} is not a whole record.*Delete it", caplog.text)
    assert list((root / ".locks").glob("*.saving")) == []
