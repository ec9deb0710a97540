"""The command line as a person or a script meets it: words on stderr, one JSON object on stdout, exit codes."""

import json
import runpy
import time
from datetime import datetime, tzinfo
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from commands.options import Stop

PROJECT = Path(__file__).parents[2]
APP = runpy.run_path(str(PROJECT / "run_batch.py"))["app"]


class Here:
    """A root with a job, a config for the scripted engine, and the commands to use on it."""

    def __init__(self, root: Path) -> None:
        self.root, self.jobs, self.config = root, root / "jobs", root / "machine.yaml"
        (root / "inbox" / "note").mkdir(parents=True)
        self.jobs.mkdir()
        self.job("note", "fields: {number: {type: text, required: true}, total: {type: money}}")
        self.replies({"*": '{"number": "A-1", "total": "12.50"}'})
        self.config.write_text(f"engine: echo\nweights: {root / 'replies.json'}\nsettle_s: 0\nworkers: 1\n")

    def job(self, name: str, text: str) -> None:
        (self.jobs / f"{name}.yaml").write_text(f"preprocess: []\n{text}\n", "utf-8")

    def replies(self, script: dict[str, str]) -> None:
        (self.root / "replies.json").write_text(json.dumps(script))

    def drop(self, name: str, colour: int = 0) -> None:
        Image.new("RGB", (60, 40), (colour, 99, 7)).save(self.root / "inbox" / "note" / name)

    def say(self, *words: str, root: bool = True, jobs: bool = True) -> Result:
        options = ["--config", str(self.config)]
        options += ["--root", str(self.root)] if root else []
        options += ["--jobs", str(self.jobs)] if jobs else []
        return CliRunner().invoke(APP, [words[0], *options, *words[1:]])


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path)


def test_a_run_says_which_engine_reads_first_and_ends_with_the_counts(here: Here) -> None:
    here.drop("a.png")
    result = here.say("run")
    assert result.exit_code == 0
    lines = result.stderr.splitlines()
    assert "echo" in lines[0]
    assert "1 document: 1 done" in result.stderr
    assert result.stdout == ""


def test_json_is_one_object_on_stdout_and_a_failed_document_exits_1(here: Here) -> None:
    here.drop("a.png")
    (here.root / "inbox" / "note" / "torn.pdf").write_bytes(b"%PDF-1.4\n")
    result = here.say("run", "--json")
    assert result.exit_code == 1
    run_report = json.loads(result.stdout)
    assert (run_report["counts"]["done"], run_report["counts"]["failed"]) == (1, 1)
    assert "torn.pdf" in result.stderr


def test_faults_of_all_files_are_listed_at_once_and_nothing_is_touched(here: Here) -> None:
    here.drop("a.png")
    here.job("first", "feilds: {number: {type: text}}")
    here.job("second", "fields: {number: {type: txet}, sum: {type: money, labelz: [Sum]}}")
    for words in (("check",), ("run",)):
        result = here.say(*words)
        assert result.exit_code == 2
        assert "first.yaml:2: feilds" in result.stderr
        assert "did you mean fields" in result.stderr
        assert "second.yaml:2" in result.stderr
        assert "labels" in result.stderr
    assert sorted(path.name for path in (here.root / "inbox" / "note").iterdir()) == ["a.png"]
    assert not (here.root / "runs").exists()
    told = json.loads(here.say("check", "--json").stdout)
    assert told["error"] == "ConfigError"
    assert len(told["messages"]) >= 3


def test_an_unknown_job_and_a_bad_time_are_config_errors(here: Here) -> None:
    result = here.say("run", "--job", "notes")
    assert result.exit_code == 2
    assert "note" in result.stderr
    assert here.say("run", "--until", "6 o'clock").exit_code == 2


@pytest.mark.parametrize(
    ("began", "looked", "begun"),
    [
        ("2026-03-01 02:00", "2026-03-01 05:59", True),
        ("2026-03-01 02:00", "2026-03-01 06:00", False),
        ("2026-03-01 22:00", "2026-03-02 05:59", True),
        ("2026-03-01 22:00", "2026-03-02 06:01", False),
        ("2026-03-01 06:00", "2026-03-01 14:00", True),  # of the next day
    ],
)
def test_until_an_hour_has_come_everything_after_it_nothing(
    here: Here, monkeypatch: pytest.MonkeyPatch, began: str, looked: str, begun: bool
) -> None:
    times = iter([began])

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Clock":
            return cls.fromisoformat(next(times, looked))

    monkeypatch.setattr("commands.options.datetime", Clock)
    here.drop("a.png")
    assert here.say("run", "--until", "06:00").exit_code == 0
    assert (here.root / "inbox" / "note" / "a.png").exists() is not begun


def test_until_comes_though_the_clock_was_set_back(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Clock":
            return cls.fromisoformat("2025-03-01 02:00")

    monkeypatch.setattr("commands.options.datetime", Clock)
    stop = Stop("06:00")
    monotonic = time.monotonic
    assert not stop()
    monkeypatch.setattr("commands.options.time.monotonic", lambda: monotonic() + 4 * 3600)
    assert not stop()
    monkeypatch.setattr("commands.options.time.monotonic", lambda: monotonic() + 5 * 3600 + 60)
    assert stop()


def test_new_writes_a_job_that_check_and_show_accept(here: Here) -> None:
    made = here.say("new", "parking", root=False)
    assert made.exit_code == 0, made.stderr
    assert Path(made.stdout.strip()).is_file()
    assert here.say("new", "parking", root=False).exit_code == 2
    assert here.say("check").exit_code == 0
    shown = json.loads(here.say("show", "parking", "--json", root=False).stdout)
    assert shown["schema"]["type"] == "object"
    assert shown["columns"]["document_id"] == "string"
    assert "parking" not in here.say("show", "note", root=False).stdout


def test_table_is_made_again_from_the_records(here: Here) -> None:
    here.drop("a.png")
    here.say("run")
    before = pd.read_parquet(here.root / "results" / "note")
    for path in (here.root / "results" / "note").iterdir():
        path.unlink()
    result = here.say("table", "note")
    assert result.exit_code == 0
    assert "1 rows" in result.stdout
    pd.testing.assert_frame_equal(before, pd.read_parquet(here.root / "results" / "note"))


def test_status_counts_and_retry_brings_failed_files_back(here: Here) -> None:
    here.drop("a.png")
    (here.root / "inbox" / "note" / "torn.pdf").write_bytes(b"%PDF-1.4\n")
    (here.root / "inbox" / "nobody").mkdir()
    here.say("run")
    here.drop("b.png", 5)
    view = json.loads(here.say("status", "--json").stdout)
    note = next(box for box in view["boxes"] if box["inbox"] == "note")
    assert (note["waiting"], note["done"], note["failed"]) == (1, 1, 1)
    assert view["last_run"]["counts"]["taken"] == 2
    assert "no job reads inbox/nobody" in here.say("status").stdout
    wrong = here.say("retry", "nots", jobs=False)
    assert (wrong.exit_code, wrong.stderr) == (2, "retry: nots: unknown inbox; did you mean note?\n")
    back = here.say("retry", "note", jobs=False)
    assert back.stdout == "inbox/note/torn.pdf\n"
    assert not list((here.root / "failed").rglob("*.error.json"))


def test_eval_counts_right_close_missing_and_invented(here: Here, tmp_path: Path) -> None:
    place = tmp_path / "labelled"
    (place / "img").mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (60, 40), (number, 1, 1)).save(place / "img" / f"{number}.png")
    truth = [
        {"file": "0.png", "fields": {"number": "A-1", "total": "12.50"}},
        {"file": "1.png", "fields": {"number": "B-2", "total": "12.50"}},
        {"file": "2.png", "fields": {"number": "", "total": "12,50 EUR"}},
    ]
    (place / "labels.jsonl").write_text("".join(json.dumps(line) + "\n" for line in truth))
    page = tmp_path / "eval.html"
    words = ("eval", "note", str(place / "labels.jsonl"), "--html", str(page))
    score = json.loads(here.say(*words, "--json", root=False).stdout)
    number = score["fields"]["number"]
    assert {key: number[key] for key in ("labelled", "exact", "close", "wrong", "missing", "invented")} == {
        "labelled": 2,
        "exact": 1,
        "close": 1,
        "wrong": 1,
        "missing": 0,
        "invented": 1,
    }
    assert score["fields"]["total"]["exact"] == 3
    assert page.read_text().startswith("<!")
    assert "invented" in here.say(*words, root=False).stdout


def test_a_missing_label_file_and_a_missing_root_say_so(here: Here) -> None:
    assert here.say("eval", "note", "nowhere.jsonl", root=False).exit_code == 2
    result = CliRunner().invoke(APP, ["status", "--root", str(here.root / "gone"), "--jobs", str(here.jobs)])
    assert result.exit_code == 2
    assert "gone" in result.stderr


SHIPPED = sorted(path.stem for path in (PROJECT / "jobs").glob("*.yaml"))


def test_check_finds_no_fault_in_the_shipped_jobs(here: Here) -> None:
    result = here.say("check", root=False, jobs=False)
    assert result.exit_code == 0, result.stderr
    assert all(name in result.stdout for name in SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_show_prints_question_form_and_columns_of_every_shipped_job(here: Here, name: str) -> None:
    result = here.say("show", name, root=False, jobs=False)
    assert result.exit_code == 0, result.stderr
    told = json.loads(here.say("show", name, "--json", root=False, jobs=False).stdout)
    job = (PROJECT / "jobs" / f"{name}.yaml").read_text("utf-8")
    fields = [field for field in told["columns"] if f"  {field}:" in job]
    assert fields
    assert all(field in result.stdout for field in fields)
    assert told["question"] in result.stdout
    if told["schema"] is None:
        assert "The answer is free text." in result.stdout
    else:
        assert list(told["schema"]["properties"]) == fields


def test_what_a_night_would_stumble_over_is_told_when_it_is_planned(here: Here) -> None:
    planned = here.say("schedule", "--at", "03:15", "--until", "06:00")
    assert planned.exit_code == 0, planned.stderr
    assert f"15 3 * * *  umask 077; cd {Path.cwd()} && " in planned.stdout
    assert (
        f"run --root {here.root} --config {here.config} --jobs {here.jobs} --until 06:00 --wait 30;" in planned.stdout
    )
    assert f"ReadWritePaths={json.dumps(str(here.root))}\n" in planned.stdout
    (here.root / "inbox").rename(here.root / "away")
    assert "inbox: there is no such folder" in here.say("schedule").stderr
    (here.root / "away").rename(here.root / "inbox")
    here.job("bad", "feilds: {}")
    assert here.say("schedule").exit_code == 2
    assert here.say("schedule", "--remove", "--name", "never-planted").exit_code == 0
