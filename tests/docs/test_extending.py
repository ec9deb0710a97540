"""docs/extending.md: its engine and its format, installed as packages, are used by the real command line."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from tests.support.extending import block, module
from tests.support.handmade import Leaf, pdf, text
from tests.support.packages import installed

PROJECT = Path(__file__).parents[2]
LINES = 60  # of code, at most


def package_of(title: str, site: Path) -> Path:
    """Install the package of a section: its module, under the names and entry points of its TOML block."""
    project = tomllib.loads(block(title, "toml"))["project"]
    modules = {module(title): block(title, "python")}
    return installed(site, project["name"], project["entry-points"], modules, project["version"])


@pytest.mark.parametrize("title", ["A field type", "An engine", "A file format"])
def test_each_example_is_short(title: str) -> None:
    assert len([line for line in block(title, "python").splitlines() if line.strip()]) < LINES


def root_of(place: Path, **config: object) -> Path:
    """A root with one job, outside of the sources."""
    (place / "root" / "inbox" / "note").mkdir(parents=True)
    (place / "jobs").mkdir()
    (place / "jobs" / "note.yaml").write_text(
        "name: note\nfields:\n  number: {type: text, required: true}\n  total: {type: money, labels: [Amount]}\n"
    )
    told = {"root": str(place / "root"), "jobs": str(place / "jobs"), "settle_s": 0, "workers": 1, **config}
    (place / "config.yaml").write_text(json.dumps(told))
    return place / "root"


def scanmill(place: Path, site: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """The command line as it is called in `place`, with the packages of `site` installed."""
    return subprocess.run(
        [sys.executable, str(PROJECT / "run_batch.py"), *words, "--config", "config.yaml"],
        cwd=place,
        env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "COLUMNS": "250"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_engine_of_the_page_reads_a_document(tmp_path: Path) -> None:
    site = package_of("An engine", tmp_path / "site")
    root = root_of(tmp_path, engine="labels")
    pdf(root / "inbox/note/a.pdf", [Leaf(text("Number: A-17 of this order")), Leaf(text("Amount: 12.50 in all"))])
    done = scanmill(tmp_path, site, "run")
    assert done.returncode == 0, done.stderr
    assert "The engine labels reads, as the config asks." in done.stderr + done.stdout
    (row,) = pd.read_parquet(root / "results" / "note").to_dict("records")
    assert (row["number"], str(row["total"]), row["status"], row["engine"]) == ("A-17", "12.50", "ok", "labels")
    assert (row["evidence"]["number"]["page"], row["evidence"]["total"]["page"]) == (1, 2)
    doctor = scanmill(tmp_path, site, "doctor", "--json")
    seen = [each["seen"] for each in json.loads(doctor.stdout)["findings"]]
    assert "engine labels, brought by package acme-labels 1.0" in seen
    assert "labels: the config asks for it" in seen


def test_a_job_that_the_engine_of_the_page_cannot_answer_waits(tmp_path: Path) -> None:
    site = package_of("An engine", tmp_path / "site")
    root = root_of(tmp_path, engine="labels")
    (tmp_path / "jobs" / "note.yaml").write_text(
        "name: note\nfields:\n  lines: {type: list, fields: {name: {type: text}}}\n"
    )
    pdf(root / "inbox/note/a.pdf", [Leaf(text("Number: A-17"))])
    done = scanmill(tmp_path, site, "run")
    assert done.returncode == 0, done.stderr
    assert "it reads single values, not lines" in done.stderr + done.stdout
    assert (root / "inbox/note/a.pdf").exists()


def test_without_the_package_the_name_is_unknown(tmp_path: Path) -> None:
    root_of(tmp_path, engine="labels")
    done = scanmill(tmp_path, tmp_path, "run")
    assert done.returncode == 2
    assert 'engine: "labels" is not allowed; allowed: auto, ocr, qwen_vl, echo' in done.stderr


def test_the_format_of_the_page_is_read_by_the_cpu_engine(tmp_path: Path) -> None:
    site = package_of("A file format", tmp_path / "site")
    root = root_of(tmp_path, engine="ocr")
    pages = ["Number: A-17", *["filled"] * 64, "Amount: 12.50"]
    (root / "inbox/note/order.log").write_text("\n".join(pages))
    (root / "inbox/note/torn.log").write_bytes(b"Number: A-18\n" + b" " * 2000 + b"\xff\xfe")
    (root / "inbox/note/other.bin").write_bytes(b"\x00\x01\x02\x03")
    done = scanmill(tmp_path, site, "run")
    assert done.returncode == 1, done.stderr
    table = pd.read_parquet(root / "results" / "note").set_index("source")
    order = table.loc["order.log"]
    assert (order["number"], str(order["total"]), list(order["pages"])) == ("A-17", "12.50", [1, 2])
    place = order["evidence"]["total"]
    assert (place["page"], round(place["y"]), round(place["x"])) == (2, 5 * 38, 8 * 18)
    notes = {path.name: json.loads(path.read_text()) for path in (root / "failed/note").glob("*.error.json")}
    assert notes["torn.log.error.json"]["code"] == "broken"
    assert "not UTF-8 text" in notes["torn.log.error.json"]["detail"]
    assert notes["other.bin.error.json"]["code"] == "unsupported"
    assert notes["other.bin.error.json"]["what_to_do"].endswith("PDF or plain text and drop it again.")
    assert not (root / "failed/note/order.log").exists()


def test_the_format_of_the_page_is_drawn_where_an_engine_looks(tmp_path: Path) -> None:
    """`echo` asks for pictures, smaller ones than the format draws: boxes come back in the pixels of the format."""
    site = package_of("A file format", tmp_path / "site")
    (tmp_path / "says.json").write_text('{"*": "{\\"number\\": \\"A-17\\", \\"total\\": null}"}')
    root = root_of(tmp_path, engine="echo", weights="says.json")
    (root / "inbox/note/order.log").write_text("Number: A-17")
    done = scanmill(tmp_path, site, "run")
    assert done.returncode == 0, done.stderr
    (path,) = (root / "records" / "note").glob("*.json")
    found = json.loads(path.read_text("utf-8"))["fields"]["number"]
    assert found["printed"] == "A-17", "found in the text layer of the page"
    assert found["box"] == pytest.approx([8 * 18, 0, 4 * 18, 38])
