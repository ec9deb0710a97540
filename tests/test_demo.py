"""The demo as a newcomer runs it, with the real engine and with the network refused."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from no_network import called, environment, held

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """Where the demo lies and what it printed with --json."""
    place = tmp_path_factory.mktemp("demo")
    (place / "net").mkdir()
    done = subprocess.run(
        [sys.executable, "run_batch.py", "demo", "--json", "--root", place / "root", "--config", "configs/cpu.yaml"],
        cwd=PROJECT,
        env=environment(place / "net"),
        stdout=subprocess.PIPE,
        check=True,
    )
    return place / "root", json.loads(done.stdout)


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


def test_nobody_called_out_and_internet_sockets_were_refused_in_every_process(
    demo: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    root, _ = demo
    assert called(root.parent / "net") == []
    assert held(root.parent / "net") >= 3  # the run, its decoders and its readers
    grandchild = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import socket; socket.socket()'])"
    done = subprocess.run([sys.executable, "-c", grandchild], env=environment(tmp_path), capture_output=True, text=True)
    assert "no network here" in done.stderr
    assert len(called(tmp_path)) == 1


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


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("mine")
    command = [sys.executable, "run_batch.py", "demo", "--root", str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "not from a demo" in done.stderr
    assert (tmp_path / "letters.txt").exists()
