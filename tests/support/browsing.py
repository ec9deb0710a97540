"""A real browser before a real server: what the tests of the page share.

The browser is the system's own chromium, driven by Playwright; where there is none, the tests skip and say so.
"""

import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import wait_until

PROJECT = Path(__file__).parents[2]
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-component-update", "--no-first-run"]


def chromium() -> str:
    """The browser's place; skips the test where there is none."""
    found = next((place for name in CHROMIUM if (place := shutil.which(name))), None)
    if found is None:
        pytest.skip("needs the chromium browser; install it with: apt-get install chromium")
    return found


@contextmanager
def browser(*flags: str) -> Iterator[Any]:
    """A Playwright browser; `flags` go to chromium."""
    api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install -e '.[test]'")
    place = chromium()
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=place, args=[*FLAGS, *flags])
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def served(root: Path, *options: str, log: Path | None = None) -> Iterator[str]:
    """The page about `root`, served by a process of its own; gives its address."""
    with serving(root, *options, log=log) as (address, _):
        yield address


@contextmanager
def serving(root: Path, *options: str, log: Path | None = None) -> Iterator[tuple[str, int]]:
    """The same; gives its address and the id of the process."""
    pytest.importorskip("streamlit", reason="needs the page's packages: pip install -e '.[web]'")
    port = free_port()
    command = [sys.executable, "run_batch.py", "web", "--root", str(root), "--port", str(port), *options]
    with open(log or root / "web.log", "wb") as out, subprocess.Popen(command, cwd=PROJECT, stderr=out) as process:
        try:
            address = f"http://127.0.0.1:{port}"
            _wait(address, process)
            yield address, process.pid
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(address: str, process: "subprocess.Popen[bytes]") -> None:
    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=10):
                return True
        except urllib.error.HTTPError:
            return True  # the login answers
        except OSError:
            assert process.poll() is None, f"the server ended with {process.returncode}"
            return False

    wait_until(answers, every_s=0.1)
