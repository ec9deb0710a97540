"""What a killed run leaves in working/, and what the next one makes of it."""

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest

from pipeline.core.types import Document, Record
from pipeline.inbox.file_queue import Claim, Inbox
from pipeline.runs.commit import Committer
from pipeline.schema.job import Job, parse_job
from pipeline.storage.job_table import JobTable
from pipeline.storage.record_store import RecordStore

NOTE = parse_job(b"name: note\nfields: {number: {type: text}}\n")
PLACE = parse_job(b"name: place\ninbox: note\nfields: {place: {type: text}}\n")


class Root:
    """A root, and what one run holds of it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        (place / "inbox" / "note").mkdir(parents=True, exist_ok=True)

    def run(self, name: str) -> tuple[Inbox, Committer, RecordStore]:
        inbox, store = Inbox(self.place, name, settle_s=0), RecordStore(self.place)
        tables = {job.name: JobTable(self.place, job, 2) for job in (NOTE, PLACE)}
        return inbox, Committer(inbox, store, tables), store

    def drop(self, name: str, content: bytes) -> None:
        (self.place / "inbox" / "note" / name).write_bytes(content)

    def files(self) -> list[str]:
        found = [path.relative_to(self.place) for path in self.place.rglob("*") if path.is_file()]
        day = datetime.now().date().isoformat()
        return sorted(
            str(path).replace(day, "DAY") for path in found if path.parts[0] not in ("records", "results", ".locks")
        )

    def recover(self, jobs: Sequence[Job] = (NOTE, PLACE)) -> tuple[int, int]:
        inbox, committer, _ = self.run("second")
        counts = committer.recover({"note": jobs}, lambda run: False)
        inbox.close()
        return counts

    def sources(self, job: Job) -> list[str]:
        files = (self.place / "results" / job.name).glob("*.parquet")
        return [name for path in files for name in pd.read_parquet(path)["source"]]


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


def answer(claim: Claim, job: Job) -> Record:
    document: Document = claim.document
    told = {"engine": "echo", "job_digest": job.digest, "run": "first"}
    return Record(document, job.name, None, (1,), dict.fromkeys(job.fields), {}, {}, (), None, told)


def claims(inbox: Inbox) -> list[Claim]:
    return sorted(inbox.claims(["note"]), key=lambda claim: claim.document.name)


def test_a_document_whose_records_are_written_is_finished_and_its_twin_is_not(root: Root) -> None:
    for name, content in (("a.pdf", b"one"), ("b.pdf", b"one"), ("c.pdf", b"three")):
        root.drop(name, content)
    inbox, committer, _ = root.run("first")
    first, _, third = claims(inbox)
    committer.write([answer(first, job) for job in (NOTE, PLACE)])
    assert root.recover() == (1, 2)
    assert root.files() == ["done/note/DAY/a.pdf", "inbox/note/b.pdf", "inbox/note/c.pdf"]
    assert root.sources(NOTE) == root.sources(PLACE) == ["a.pdf"]
    assert third.document.name == "c.pdf"


def test_what_one_job_answered_is_in_its_table_though_another_still_asks(root: Root) -> None:
    root.drop("a.pdf", b"one")
    inbox, committer, _ = root.run("first")
    committer.write([answer(claims(inbox)[0], NOTE)])
    assert root.recover() == (0, 1)
    assert root.files() == ["inbox/note/a.pdf"]
    assert (root.sources(NOTE), root.sources(PLACE)) == (["a.pdf"], [])
    _, again, _ = root.run("third")
    assert [job.name for job in again.missing(answer(claims(inbox)[0], NOTE).document, [NOTE, PLACE])] == ["place"]


def test_a_number_that_working_gave_does_not_make_another_document(root: Root) -> None:
    root.drop("a.pdf", b"one")
    inbox, committer, _ = root.run("first")
    claims(inbox)
    root.drop("a.pdf", b"two")
    (second,) = claims(inbox)
    assert second.document.path.name == "a (2).pdf"
    committer.write([answer(second, job) for job in (NOTE, PLACE)])
    assert root.recover() == (1, 1)
    assert root.files() == ["done/note/DAY/a (2).pdf", "inbox/note/a.pdf"]


@pytest.mark.parametrize("end", ["done/note/2026-01-02", "duplicate/note", "inbox/note"])
def test_a_crash_inside_a_move_counts_as_moved(root: Root, end: str) -> None:
    """Whatever would be decided today: the day may have changed, or the twin become the first."""
    root.drop("a.pdf", b"one")
    inbox, committer, _ = root.run("first")
    (claim,) = claims(inbox)
    committer.write([answer(claim, job) for job in (NOTE, PLACE)])
    (root.place / end).mkdir(parents=True, exist_ok=True)
    os.link(claim.document.path, root.place / end / "a.pdf")
    assert root.recover() == (0, 0)
    assert root.files() == [f"{end}/a.pdf"]


def test_a_file_with_two_names_of_its_own_is_no_half_move(root: Root, tmp_path: Path) -> None:
    root.drop("a.pdf", b"one")
    os.link(tmp_path / "inbox/note/a.pdf", tmp_path / "kept.pdf")
    inbox, _, _ = root.run("first")
    assert len(claims(inbox)) == 1
    assert root.recover() == (0, 1)
    assert root.files() == ["inbox/note/a.pdf", "kept.pdf"]


def test_nothing_goes_back_before_the_rows_are_safe(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    root.drop("a.pdf", b"one")
    inbox, committer, _ = root.run("first")
    (claim,) = claims(inbox)
    committer.write([answer(claim, NOTE)])

    def power_cut(table: JobTable) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(JobTable, "flush", power_cut)
        with pytest.raises(KeyboardInterrupt):
            root.recover()
    assert root.files() == ["working/first/note/a.pdf"]
    assert root.recover() == (0, 1)
    assert root.sources(NOTE) == ["a.pdf"]
