"""The trials at a small size: the same commands as docs/operations.md names."""

import random
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.stress import fuzz

PROJECT = Path(__file__).parents[2]


def trial(name: str, *words: str) -> str:
    """What the command printed. It must end well."""
    done = subprocess.run(
        [sys.executable, str(PROJECT / "tests" / "stress" / name), *words],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=580,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_killed_anywhere_the_next_run_ends_as_if_nothing_had_been() -> None:
    told = trial("crash.py", "--documents", "18", "--every", "97", "--kills", "1")
    assert " 0 violations" in told
    assert told.count("killed before: ") >= 4  # kinds of changes


def test_a_lost_full_or_forbidden_disk_is_named_and_costs_nothing() -> None:
    chosen = ("full_disk, 16 KiB left", "read_only_folder done", "share_gone after 5 records", "clock_jumps a day back")
    assert "4 trials, 0 violations" in trial("storage.py", *chosen)


def test_tiny_files_and_a_clock_that_jumps() -> None:
    assert "3 trials, 0 violations" in trial("clock.py", "--documents", "120")


def test_two_runs_two_machines_and_a_stop() -> None:
    assert "3 trials, 0 violations" in trial("meetings.py", "two_runs", "two_machines", "stop SIGTERM")


def test_memory_handles_and_processes_stay_level() -> None:
    told = trial("soak.py", "--documents", "200", "--pages", "20", "--loose")
    assert "2 trials, 0 violations" in told


def test_hostile_files_end_as_a_person_expects(shared: Path) -> None:
    assert " 0 violations" in trial("hostile.py", "--engine", "echo", "--every", "12")


@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_seeds_and_their_neighbours_raise_nothing_new(name: str) -> None:
    """The fuzz targets without the fuzzer: every seed, cut off anywhere, and with a byte changed."""
    target, chance = fuzz.TARGETS[name], random.Random(0)
    for seed in target.seeds:
        target.read(seed)
        for _ in range(20):
            at = chance.randrange(len(seed))
            target.read(seed[:at])
            target.read(seed[:at] + bytes([chance.randrange(256)]) + seed[at + 1 :])


@pytest.mark.skipif(find_spec("atheris") is None, reason="needs atheris: pip install '.[fuzz]'")
def test_the_fuzzer_itself_finds_nothing_in_seconds() -> None:
    assert "0 violations" in trial("fuzz.py", "rule", "--seconds", "3")
