"""Run the tests while busy loops take the processor: a test that fails here depends on guessed seconds.

Usage: python tests/stress/busy.py [--loops 3] [--times 3] [-- PYTEST ARGUMENTS]
`make test-busy` runs the whole suite three times under three loops. Exits 1 if any of the runs fails.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """So many processes that never rest. All have ended when this returns."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--loops", type=int, default=3, help="number of busy loops (default: 3)")
    parser.add_argument("--times", type=int, default=3, help="number of runs in a row (default: 3)")
    parser.add_argument("pytest", nargs="*", metavar="PYTEST", help="what pytest is given, after --")
    given = parser.parse_args()
    codes = []
    with busy(given.loops):
        for number in range(1, given.times + 1):
            begun = time.monotonic()
            codes.append(subprocess.run([sys.executable, "-m", "pytest", *given.pytest], cwd=PROJECT).returncode)
            took_s = time.monotonic() - begun
            print(f"run {number} of {given.times}: pytest exited with {codes[-1]} after {took_s:.0f} s", flush=True)
    failed = sum(code != 0 for code in codes)
    print(f"{len(codes)} runs, {failed} failed, under {given.loops} busy loops on {os.cpu_count()} cores")
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
