"""Roots that earlier versions made (tests/roots, made by make_root.py) are opened by this one without loss.

Only the command line and what a page calls are used, so that this holds wherever the code moves.
"""

import json
import sqlite3
import tarfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from tests.support.roothere import Root
from web.data.record_list import Filter, filter_records, load_records

ARCHIVES = sorted((Path(__file__).parents[1] / "roots").glob("*.tar.xz"))


class Old(Root):
    """A root of an earlier version, with its own jobs."""

    def __init__(self, root: Path, archive: Path) -> None:
        with tarfile.open(archive) as packed:
            packed.extractall(root, filter="data")
        self.root, self.jobs, self.config = root, root / "jobs", root / "machine.yaml"
        self.inbox = root / "inbox" / "every"
        self.config.write_text(f"engine: echo\nweights: {root / 'replies.json'}\nsettle_s: 0\nworkers: 1\n")

    def record(self, name: str, job: str = "every") -> dict[str, Any]:
        found = [json.loads(path.read_text()) for path in (self.root / "records" / job).glob("*.json")]
        (one,) = [each for each in found if each["document"]["name"] == name]
        assert isinstance(one, dict)
        return one

    def rows(self, job: str = "every") -> pd.DataFrame:
        return pd.read_parquet(self.root / "results" / job).set_index("source").sort_index()


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.name.removesuffix(".tar.xz"))
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Old:
    return Old(tmp_path, request.param)


def contents(root: Path, *folders: str) -> dict[str, bytes]:
    found = (path for folder in folders for path in sorted((root / folder).rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def test_there_is_a_root_of_version_0_1() -> None:
    assert "v0_1.tar.xz" in [path.name for path in ARCHIVES]
    assert all(path.stat().st_size < 200_000 for path in ARCHIVES)


def test_a_look_at_an_old_root_changes_nothing(old: Old) -> None:
    before = contents(old.root, ".")
    view = json.loads(old.run("status", "--json").stdout)
    boxes = {box["inbox"]: box for box in view["boxes"]}
    every = boxes["every"]
    assert (every["waiting"], every["in_work"], every["done"], every["failed"], every["duplicate"]) == (0, 1, 4, 1, 1)
    assert (boxes["ask"]["done"], boxes["pages"]["done"]) == (1, 1)
    assert view["last_run"]["counts"]["duplicate"] == 1
    assert view["holder"] is None
    assert old.run("check").returncode == 0
    assert "1 cut-off run" in old.run("doctor").stdout
    assert contents(old.root, ".") == before


def test_a_run_ends_what_was_cut_off_and_rewrites_nothing_else(old: Old) -> None:
    before = contents(old.root, "records", "files", "done", "failed", "duplicate", "asks", "runs")
    rows = {job: old.rows(job) for job in ("every", "pages", "ask")}
    Image.new("RGB", (60, 40), (50, 99, 7)).save(old.inbox / "new.png")
    done = old.run("run")
    assert done.returncode == 0, done.stderr
    after = contents(old.root, "records", "files", "done", "failed", "duplicate", "asks", "runs")
    assert {name: after.get(name) for name in before} == before
    assert sorted(Path(name).name for name in after.keys() - before.keys() if name.startswith("done/")) == [
        "late.png",
        "new.png",
    ]
    assert contents(old.root, "working", ".tmp") == {}
    assert not list((old.root / ".locks").glob("*.saving"))
    for job, old_rows in rows.items():
        new_rows = old.rows(job)
        assert not set(old_rows.columns) - set(new_rows.columns)
        kept = new_rows.loc[new_rows.index.isin(old_rows.index), old_rows.columns]
        pd.testing.assert_frame_equal(kept, old_rows)
    assert set(old.rows().index) - set(rows["every"].index) == {"late.png", "new.png"}
    assert old.rows().loc["late.png", "number"] == "A-5"


def test_the_same_files_are_duplicates_under_the_same_jobs(old: Old) -> None:
    old.run("run")
    before = contents(old.root, "records")
    for number, path in enumerate(sorted((old.root / "done" / "every").rglob("*.png"))):
        (old.inbox / f"again-{number}.png").write_bytes(path.read_bytes())
    (old.root / "inbox" / "pages" / "again.tiff").write_bytes(next((old.root / "done").rglob("two.tiff")).read_bytes())
    assert old.run("run").returncode == 0
    assert len(old.files("duplicate")) == 1 + 5 + 1
    assert contents(old.root, "records") == before


def test_what_a_person_said_stands_whatever_becomes_of_the_job(old: Old) -> None:
    for path in (old.root / "done" / "every").rglob("*.png"):
        (old.inbox / path.name).write_bytes(path.read_bytes())
    text = (old.jobs / "every.yaml").read_text()
    (old.jobs / "every.yaml").write_text(text.replace("review_below: 0.5", "review_below: 0.4"))
    replies = json.loads((old.root / "replies.json").read_text())
    changed = {name: text.replace('"A-', '"B-') for name, text in replies.items()}
    (old.root / "replies.json").write_text(json.dumps(changed))
    old.run("run")
    corrected, approved = old.record("corrected.png"), old.record("approved.png")
    assert (corrected["data"]["number"], corrected["data"]["supplier"]["name"]) == ("R-3", "李")
    assert {(each["path"], each["machine"], each["by"]) for each in corrected["corrections"]} == {
        ("number", "A-3", "Ada"),
        ("supplier.name", "Müller & 张", "Ada"),
    }
    assert (approved["status"], approved["approved"]["by"], approved["data"]["number"]) == ("ok", "Bob", "A-4")
    assert old.record("first.png")["data"]["number"] == "B-1"  # nobody touched it: read again under the changed job
    rows = old.rows()
    assert rows.loc["corrected.png", "number"] == "R-3"
    assert rows.loc["approved.png", "status"] == "ok"


def test_the_table_made_again_has_the_same_rows_of_every_type(old: Old) -> None:
    before = old.rows()
    for path in (old.root / "results" / "every").iterdir():
        path.unlink()
    assert old.run("table", "every").returncode == 0
    after = old.rows()
    pd.testing.assert_frame_equal(after[before.columns], before)
    row = after.loc["first.png"]
    shown = {name: str(row[name]) for name in ("count", "weight", "total", "issued", "at", "paid", "currency")}
    assert shown == {
        "count": "12.0", "weight": "0.75", "total": "30.00", "issued": "2024-06-15", "at": "14:30:00",
        "paid": "True", "currency": "EUR",
    }  # fmt: skip
    assert (row["pressure"], row["pressure_printed"]) == (1200.0, "1.2 MPa")
    assert (row["story"], list(row["marks"]), list(row["phones"])) == ("苏州 and Köln.", ["round"], ["1", "2"])
    assert (row["supplier"]["name"], str(row["lines"][1]["amount"])) == ("Müller & 张", "20.00")
    assert all((old.root / name).is_file() for name in row["files"])


def test_the_review_list_and_the_conversations_are_there(old: Old) -> None:
    old.run("run")
    listed = filter_records(load_records(old.root).table, Filter()).to_pylist()
    found = [(row["job"], row["source"], row["status"]) for row in listed]
    assert ("every", "torn.pdf", "failed") in found
    assert ("every", "doubt.png", "review") in found
    assert ("every", "approved.png", "ok") in found
    assert len([row for row in listed if row["job"] == "pages"]) == 2
    assert [row["source"] for row in filter_records(load_records(old.root).table, Filter(text="r-3")).to_pylist()] == [
        "corrected.png"
    ]
    with sqlite3.connect(old.root / "asks" / "history.sqlite") as base:
        ((question, answer, document_id),) = base.execute("SELECT question, answer, document_id FROM turn").fetchall()
    assert (question, answer) == ("What colour?", "It is **green**.")
    assert (old.root / "records" / "ask" / f"{document_id}.json").is_file()


def test_what_failed_comes_back_and_fails_again(old: Old) -> None:
    assert old.run("retry").stdout == "inbox/every/torn.pdf\n"
    assert old.run("run").returncode == 1
    assert old.files("failed") == ["torn.pdf"]
    assert old.record("torn.pdf")["error"]["code"] == "broken"
