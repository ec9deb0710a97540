"""The trials at a small size: the same commands as docs/operations.md names."""

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]


def trial(name: str, *words: str) -> str:
    """What the command printed. It must end well."""
    done = subprocess.run(
        [sys.executable, str(PROJECT / "trials" / name), *words],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_killed_anywhere_the_next_run_ends_as_if_nothing_had_been() -> None:
    told = trial("crash.py", "--documents", "12", "--every", "11", "--kills", "5")
    assert "0 violations" in told
    assert "killed before: rename records" in told


def test_a_lost_full_or_forbidden_disk_is_named_and_costs_nothing() -> None:
    told = trial("storage.py", "full_disk", "read_only_folder", "folder_gone", "share_gone", "clock_jumps")
    assert " 0 violations" in told


def test_two_runs_two_machines_and_a_stop() -> None:
    assert "5 trials, 0 violations" in trial("meetings.py")
