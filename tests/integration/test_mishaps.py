"""What an attacker or bad luck leaves in a root: each is named, stops no more than it must, and writes no traceback."""

import json
import os
import resource
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.support.roothere import PROJECT, Root, bounded

MIB = 1 << 20
# It clears the screen, sets the title, forges a line, turns the direction of writing, and ends with a C1 character.
EVIL = "a\x1b[2J\x1b]0;owned\x07\rb\nok\u202egnp\x9b31m.png"
OBEYED = {*map(chr, range(32)), *map(chr, range(127, 160)), "\u202e", "\u2066"} - {"\n"}


@pytest.fixture
def here(tmp_path: Path) -> Root:
    return Root(tmp_path)


def said(done: "subprocess.CompletedProcess[str]") -> str:
    """All that a process said; it never is a traceback."""
    told = done.stdout + done.stderr
    assert "Traceback" not in told, told
    return told


# ---- names with escape sequences
@pytest.mark.parametrize("log", ["text", "json"])
def test_no_command_prints_what_a_terminal_would_obey(here: Root, log: str) -> None:
    here.config.write_text(here.config.read_text() + f"log: {log}\n")
    for name in (EVIL, b"\xff\xfe" + EVIL.encode() + b".pdf"):
        (here.inbox / os.fsdecode(name)).write_bytes(b"%PDF-1.4\n torn")
    (here.root / "inbox" / EVIL).mkdir()
    (here.root / "inbox" / EVIL / "waits.png").touch()
    for words in (["status"], ["run"], ["status"], ["doctor"], ["table", "note"], ["retry"], ["retry", EVIL + "x"]):
        done = here.run(*words)
        told = said(done)
        assert told
        assert not OBEYED & set(told), (words, told)
        assert "a\ufffd[2J" in told or words[0] in ("table", "doctor") or log == "json" or done.returncode == 0
    assert len(here.files("inbox")) == 3
    assert said(here.run("retry")).endswith("0 documents.\n")


def test_a_name_is_one_line_of_what_retry_prints(here: Root) -> None:
    (here.inbox / "a\nb\x1b[2J.pdf").write_bytes(b"%PDF-1.4\n torn")
    here.run("run")
    done = here.run("retry")
    assert done.stdout == "inbox/note/a\ufffdb\ufffd[2J.pdf\n"
    assert here.files("inbox") == ["a\nb\x1b[2J.pdf"]


@pytest.mark.parametrize("words", [["status", "--json"], ["run", "--json"], ["doctor", "--json"]])
def test_json_holds_every_byte_of_a_name_and_nothing_that_a_terminal_obeys(here: Root, words: list[str]) -> None:
    name = os.fsdecode(b"\xff" + EVIL.encode())
    (here.root / "inbox" / name).mkdir()
    (here.inbox / name).write_bytes(b"%PDF-1.4\n torn")
    done = here.run(*words)
    assert not OBEYED & set(said(done))
    view = json.loads(done.stdout)
    if words[0] == "status":
        assert name in [box["inbox"] for box in view["boxes"]]


def test_a_report_and_the_note_beside_a_failed_file_hold_nothing_that_a_terminal_obeys(here: Root) -> None:
    (here.inbox / EVIL).write_bytes(b"%PDF-1.4\n torn")
    here.run("run")
    (note,) = (here.root / "failed" / "note").glob("*.error.json")
    (page,) = (here.root / "runs").glob("*.html")
    (run_report,) = (here.root / "runs").glob("*.json")
    (record,) = (here.root / "records" / "note").glob("*.json")
    for path in (note, page, run_report, record):
        assert not OBEYED & set(path.read_text()), path.name
    assert json.loads(note.read_text())["file"] == EVIL
    assert json.loads(run_report.read_text())["documents"][0]["name"] == EVIL


# ---- where output goes
@pytest.mark.parametrize("words", ["status", "status --json", "check", "doctor", "run --json"])
@pytest.mark.parametrize("out", ["| true", "> /dev/full", ">&-", ">&- 2>&-", "> /dev/null"])
def test_output_that_nobody_takes_is_no_traceback(here: Root, words: str, out: str) -> None:
    here.drop("a.png")
    command = " ".join(map(shlex.quote, here.command(*words.split())))
    done = subprocess.run(["sh", "-c", f"{command} {out}"], capture_output=True, text=True, timeout=120, check=False)
    said(done)
    assert here.files("inbox") + here.files("done") == ["a.png"]


def test_a_terminal_without_chinese_letters_shows_escapes(here: Root) -> None:
    (here.root / "inbox" / "票据").mkdir()
    for words in (["status"], ["status", "--json"], ["doctor"], ["check"]):
        done = here.run(*words, env={"PYTHONIOENCODING": "ascii"})
        assert done.returncode == 0 or words == ["doctor"]
        assert "\\u7968" in said(done) or words[0] in ("doctor", "check")


# ---- what is no file
def socket_at(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as channel:
        channel.bind(str(path))


NO_FILES: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "socket": socket_at,
    "folder": os.mkdir,
    "broken link": lambda path: os.symlink("nowhere.yaml", path),
    "link to itself": lambda path: os.symlink(path.name, path),
    "device": lambda path: os.symlink("/dev/zero", path),
    "closed": lambda path: os.close(os.open(path, os.O_CREAT, 0o000)),
}


@pytest.mark.parametrize("what", NO_FILES)
@pytest.mark.parametrize("words", [["check"], ["run"], ["status"], ["doctor"]])
def test_what_is_no_file_in_jobs_is_a_fault_with_its_name(here: Root, what: str, words: list[str]) -> None:
    if what == "closed" and os.geteuid() == 0:
        pytest.skip("root may read every file")
    NO_FILES[what](here.jobs / "odd.yaml")
    here.drop("a.png")
    done = here.run(*words, timeout_s=60)
    assert done.returncode == (1 if words == ["doctor"] else 2)
    assert "odd.yaml" in said(done)
    assert "cannot be read" in said(done)
    assert here.files("inbox") == ["a.png"]


@pytest.mark.parametrize("what", [each for each in NO_FILES if each != "closed"])
def test_a_config_that_is_no_file_is_a_fault_with_its_name(here: Root, what: str) -> None:
    here.config.unlink()
    NO_FILES[what](here.config)
    done = here.run("check", timeout_s=60)
    assert done.returncode == 2
    assert "machine.yaml: cannot be read" in said(done)


def test_a_job_file_of_100_mb_is_refused_without_being_read(here: Root) -> None:
    with open(here.jobs / "huge.yaml", "wb") as file:
        file.truncate(100 * MIB)
    done = here.run("check")
    assert done.returncode == 2
    assert "huge.yaml: is larger than 1024 KiB" in said(done)


@pytest.mark.parametrize("name", [".lock", ".live.json", "runs/2026-01-01_00-00-00.json", "records/note/{id}.json"])
def test_a_pipe_in_the_place_of_a_file_of_the_root_holds_nothing_up(here: Root, name: str) -> None:
    path = here.root / name.format(id="ab" * 32)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    here.drop("a.png")
    for words in (["status"], ["doctor"], ["run"]):
        said(here.run(*words, timeout_s=60))


# ---- what a power cut or a person leaves
@pytest.mark.parametrize("garbage", [b"\xff\x00\n", b"../../../etc/passwd", b"records/note/x"])
def test_a_note_of_a_save_that_names_nothing_stops_no_run(here: Root, garbage: bytes) -> None:
    (here.root / ".locks").mkdir()
    (here.root / ".locks" / "note.saving").write_bytes(garbage)
    here.drop("a.png")
    done = here.run("run")
    assert done.returncode == 0, done.stderr
    assert "note.saving names no record" in said(done)
    assert here.files("done") == ["a.png"]
    assert "note.saving" not in said(here.run("run"))


@pytest.mark.parametrize("day", ["2026-13-45", "0000-00-00", "2026-02-30"])
def test_a_record_of_an_impossible_day_is_named_and_stops_no_run(here: Root, day: str) -> None:
    here.drop("a.png", 1)
    here.drop("b.png", 2)
    here.run("run")
    broken, whole = sorted((here.root / "records" / "note").glob("*.json"))
    told = json.loads(broken.read_text())
    broken.write_text(broken.read_text().replace(f'"day": "{told["day"]}"', f'"day": "{day}"'))
    for path in (here.root / "results" / "note").iterdir():
        path.unlink()
    here.drop("c.png", 3)
    done = here.run("run")
    assert done.returncode == 0, done.stderr
    assert broken.name in said(done)
    rows = pd.read_parquet(here.root / "results" / "note")["document_id"]
    assert len(rows) == 2
    assert whole.stem in set(rows)
    here.inbox.joinpath(told["document"]["name"]).write_bytes(
        next((here.root / "done").rglob(told["document"]["name"])).read_bytes()
    )
    assert here.run("run").returncode == 0  # its document is dropped again, as the warning says
    assert len(pd.read_parquet(here.root / "results" / "note")) == 3
    assert broken.name not in said(here.run("table", "note"))


# ---- Ctrl-C
@pytest.mark.parametrize("wait_s", [0.03, 0.08, 0.15, 0.3, 0.5, 0.8])
def test_ctrl_c_while_modules_are_loaded_ends_it_in_silence(here: Root, wait_s: float) -> None:
    """The moment varies; what it must not depend on is where the program stands."""
    process = subprocess.Popen(
        here.command("status"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    until = time.monotonic() + 60
    while process.poll() is None and not _loading(process.pid) and time.monotonic() < until:
        time.sleep(0.002)
    time.sleep(wait_s)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (0, 130), err
    assert "Traceback" not in err
    assert process.returncode == 0 or err == "" or err.startswith("Interrupted.")


def _loading(pid: int) -> bool:
    """Whether the process is among the imports of run_batch.py."""
    try:
        with open(f"/proc/{pid}/maps", "rb") as file:
            return b"pydantic_core" in file.read()
    except OSError:
        return False


# ---- memory, processes, open files
@pytest.mark.parametrize("most_mib", [140, 250, 400, 600, 800, 1600, 3000])
def test_a_process_that_may_map_too_little_says_so_and_touches_nothing(here: Root, most_mib: int) -> None:
    here.drop("a.png")
    done = here.run("run", before=bounded(resource.RLIMIT_AS, most_mib * MIB))
    assert done.returncode == 3, done.stderr
    assert "ulimit -v" in said(done)
    assert here.files("inbox") == ["a.png"]
    assert here.files("working") == []
    assert "ulimit" not in said(here.run("run"))


def test_the_doctor_says_that_a_process_may_map_too_little(here: Root) -> None:
    done = here.run("doctor", before=bounded(resource.RLIMIT_AS, 3000 * MIB))
    assert done.returncode == 1
    assert "ulimit -v" in said(done)
    assert "limits.memory_mib" in said(done)


def test_memory_that_runs_out_during_a_run_gives_the_documents_back(here: Root) -> None:
    """The first answer takes more memory than the run may have."""
    for number in range(3):
        here.drop(f"{number}.png", number)
    here.config.write_text(here.config.read_text() + "limits: {memory_mib: 256}\n")
    hog = PROJECT / "tests" / "support" / "hog.py"
    done = subprocess.run(
        [here.command("run")[0], str(hog), *here.command("run")[1:]],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        preexec_fn=bounded(resource.RLIMIT_AS, 3000 * MIB),
    )
    assert done.returncode == 3, done.stderr
    assert "short of memory" in said(done)
    assert here.files("inbox") == ["0.png", "1.png", "2.png"]
    assert here.files("working") == []
    assert here.run("run").returncode == 0
    assert here.files("done") == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize("most", [8, 12, 16, 20, 24, 30])
def test_too_few_open_files_or_processes_end_the_run_with_a_sentence(here: Root, most: int) -> None:
    here.drop("a.png")
    done = here.run("run", before=bounded(resource.RLIMIT_NOFILE, most))
    assert done.returncode in (0, 3), done.stderr
    said(done)
    assert here.files("inbox") + here.files("done") == ["a.png"]
    assert here.files("failed") == []
    here.run("run")
    assert here.files("done") == ["a.png"]
