"""The demo as a newcomer runs it, with the real engine, under a trace of its system calls where that is possible."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.support.traced import Trace, needs_strace, refusal, traced

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def run(place: Path) -> Trace | None:
    """The demo, run; its trace, where one can be made."""
    words = [sys.executable, "run_batch.py", "demo", "--json", "--root", place / "root", "--config", "configs/cpu.yaml"]
    if refusal():
        (place / "said").write_bytes(subprocess.run(words, cwd=PROJECT, stdout=subprocess.PIPE, check=True).stdout)
        return None
    (place / "tmp").mkdir()
    with traced(words, place / "calls", place / "tmp", stdout=place / "said") as trace:
        assert trace.process.wait() == 0
    return trace


@pytest.fixture(scope="module")
def demo(run: Trace | None, place: Path) -> tuple[Path, dict[str, object]]:
    """Where the demo lies and what it printed with --json."""
    return place / "root", json.loads((place / "said").read_text())


def test_every_sample_ends_as_its_truth_says(demo: tuple[Path, dict[str, object]]) -> None:
    _, said = demo
    truth = [json.loads(line) for line in (PROJECT / "samples" / "truth.jsonl").read_text("utf-8").splitlines()]
    outcomes = {f"{entry['inbox']}/{entry['name']}": entry["outcome"] for entry in said["documents"]}  # type: ignore[attr-defined]
    expected = {
        line["file"]: "failed" if line["meta"]["expected"] == "failed" else "done"
        for line in truth
        if line["job"] in said["truth"] or line["job"] == "ask"  # type: ignore[operator]
    }
    assert outcomes == expected
    assert {"invoice", "receipt", "inspection_form", "delivery_note", "table"} <= set(said["truth"])  # type: ignore[call-overload]
    assert said["faults"] == []


def test_what_needs_a_look_stays_in_the_inbox_and_one_line_says_so(demo: tuple[Path, dict[str, object]]) -> None:
    root, said = demo
    (line,) = [note for note in said["notes"] if "wait" in note]  # type: ignore[attr-defined]
    waiting = {"describe", "figure_report", "gauge", "marks", "solder_faults", "translate", "ui_to_code", "ui_to_html"}
    assert all(name in line for name in waiting)
    assert "GPU engine" in line
    assert not waiting & set(said["truth"])  # type: ignore[call-overload]
    for folder in ("gauges", "screens", "letters"):
        assert list((root / "inbox" / folder).iterdir())


def test_nothing_leaves_the_machine_and_nothing_is_written_outside_the_root(run: Trace | None, place: Path) -> None:
    needs_strace()
    assert run is not None
    assert run.processes() >= 5  # the run, its decoders and its readers
    assert run.reached() == []
    assert run.changed(place / "root", place / "tmp", "/dev", "/proc") == []


def test_most_of_what_it_reads_is_true_and_the_blank_page_is_empty(demo: tuple[Path, dict[str, object]]) -> None:
    root, said = demo
    overall = [score["overall"] for score in said["truth"].values()]  # type: ignore[attr-defined]
    assert sum(each["exact"] for each in overall) >= 0.9 * sum(each["labelled"] for each in overall)
    table = pd.read_parquet(root / "results" / "invoice").set_index("source")
    blank = table.loc["blank_page.jpg"]
    assert blank["status"] == "review"
    assert pd.isna(blank["invoice_number"])
    assert pd.isna(blank["total"])
    assert str(table.loc["english_two_pages.pdf", "total"]) == "8149.62"
    assert table.loc["chinese_two_pages.tiff", "currency"] == "CNY"


def test_values_say_where_they_stand(demo: tuple[Path, dict[str, object]]) -> None:
    root, _ = demo
    table = pd.read_parquet(root / "results" / "invoice").set_index("source")
    seen = table.loc["english_two_pages.pdf", "evidence"]["invoice_number"]
    assert seen["text"] == table.loc["english_two_pages.pdf", "invoice_number"]
    assert seen["page"] == 1
    assert seen["width"] > seen["height"] > 5
    assert unplaced(root) == []


def places(data: object, path: str = "") -> list[str]:
    """The paths of all values: `lines[0].amount`."""
    if isinstance(data, dict):
        return [place for key, value in data.items() for place in places(value, f"{path}.{key}" if path else key)]
    if isinstance(data, list):
        return [place for index, value in enumerate(data) for place in places(value, f"{path}[{index}]")]
    return [] if data is None else [path]


def unplaced(root: Path) -> list[str]:
    """The values without page, box or printed text, and those without confidence except the free text of `ask`."""
    found, values = [], 0
    for path in root.glob("records/*/*.json"):
        record = json.loads(path.read_text("utf-8"))
        for place in places(record["data"] or {}):
            values += 1
            known = record["fields"].get(place, {})
            wanted = {"page", "box", "printed", "confidence"} - ({"confidence"} if record["job"] == "ask" else set())
            if any(known.get(key) is None for key in wanted):
                found.append(f"{path}: {place}")
    assert values > 500
    return found


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("mine")
    command = [sys.executable, "run_batch.py", "demo", "--root", str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "not from a demo" in done.stderr
    assert (tmp_path / "letters.txt").exists()
