"""A root with a job and the scripted engine, and the command line as a process of its own on it."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from PIL import Image

PROJECT = Path(__file__).parents[2]
RUN_BATCH = PROJECT / "run_batch.py"


class Root:
    """`run` gives the ended process, with its outputs as text."""

    def __init__(self, root: Path) -> None:
        self.root, self.jobs, self.config = root, root / "jobs", root / "machine.yaml"
        self.inbox = root / "inbox" / "note"
        self.inbox.mkdir(parents=True)
        self.jobs.mkdir()
        (self.jobs / "note.yaml").write_text(
            "preprocess: []\nfields: {number: {type: text, required: true}, total: {type: money}}\n"
        )
        (root / "replies.json").write_text(json.dumps({"*": '{"number": "A-1", "total": "12.50"}'}))
        self.config.write_text(f"engine: echo\nweights: {root / 'replies.json'}\nsettle_s: 0\nworkers: 1\n")

    def drop(self, name: str | bytes, colour: int = 0, side: int = 40) -> Path:
        path = self.inbox / os.fsdecode(name)
        Image.new("RGB", (60, side), (colour, 99, 7)).save(path, "PNG")
        return path

    def command(self, *words: str) -> list[str]:
        options = ["--config", str(self.config), "--root", str(self.root)]
        if words[0] not in ("retry", "show", "new"):
            options += ["--jobs", str(self.jobs)]
        return [sys.executable, str(RUN_BATCH), words[0], *options, *words[1:]]

    def run(
        self,
        *words: str,
        timeout_s: float = 120,
        env: Mapping[str, str] | None = None,
        before: Callable[[], None] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=timeout_s,
            check=False,
            env={**os.environ, **(env or {})},
            preexec_fn=before,
        )

    def files(self, folder: str) -> list[str]:
        """Names of the files below a folder of the root, without the notes beside failed ones."""
        found = (path for path in (self.root / folder).rglob("*") if os.path.lexists(path) and not path.is_dir())
        return sorted(path.name for path in found if not path.name.endswith(".error.json"))


def bounded(kind: int, most: int) -> Callable[[], None]:
    """For `before`: what `ulimit` does."""

    def bound() -> None:
        resource.setrlimit(kind, (most, most))

    return bound
