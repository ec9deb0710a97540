"""What a root holds after a run, without what may differ between two runs: times, and the names of runs."""

import hashlib
import json
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from shutil import copyfile
from typing import Any

from pipeline.storage.duckdb_sink import FILE
from pipeline.system import filesystem

ENDS = ("done", "failed", "duplicate")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_MOMENTS = ("processed_at", "day")
Outcome = dict[str, Any]


def outcome(root: Path) -> Outcome:
    """What every file of the root says, by its path; days are written as DAY.

    Accounts, locks and signs of life are left out.
    """
    found: Outcome = {}
    for path in _files(root):
        parts = path.relative_to(root).parts
        if parts[0] == "runs" or (parts[0].startswith(".") and parts[0] != ".tmp"):
            continue
        if parts[0] == "results":  # one table, whatever the days
            found.setdefault("/".join(parts[:2]), []).extend(_compared(_rows(path)))
            continue
        if parts == (FILE,):
            found |= {f"{FILE}/{job}": list(_compared(rows)) for job, rows in _tables(path).items()}
            continue
        name = "/".join(_DAY.sub("DAY", part) if at in (1, 2) else part for at, part in enumerate(parts))
        found[os.fsencode(name).decode("utf-8", "backslashreplace")] = _said(path, parts)
    return found


def differences(expected: Outcome, got: Outcome) -> list[str]:
    """In sentences: what is missing, what nobody asked for, what says something else."""
    found = [f"missing: {name}" for name in sorted(expected.keys() - got.keys())]
    found += [f"stray: {name}" for name in sorted(got.keys() - expected.keys())]
    for name in sorted(expected.keys() & got.keys()):
        left, right = expected[name], got[name]
        if left == right:
            continue
        if isinstance(left, list):
            if sorted(map(str, left)) == sorted(map(str, right)):
                continue
            left, right = [row for row in left if row not in right], [row for row in right if row not in left]
        found.append(f"differs: {name}: expected {str(left)[:400]}, got {str(right)[:400]}")
    return found


def unsettled(root: Path, dropped: Counter[str]) -> list[str]:
    """Documents that are not in exactly one end, and what a run left lying about. `dropped`: from `contents`."""
    ended: Counter[str] = Counter()
    for end in ENDS:
        ended += contents(root / end)
    found = [f"lost: {text}" for text in (dropped - ended).elements()]
    found += [f"doubled or changed: {text}" for text in (ended - dropped).elements()]
    for place in ("working", ".tmp", "inbox"):
        found += [f"left in {place}: {path.relative_to(root)}" for path in _files(root / place)]
    found += [f"empty folder: {path.relative_to(root)}" for path in (root / "working").glob("*")]
    for path in (root / "runs").glob("*.json"):
        run_report = json.loads(path.read_bytes())
        found += [f"{path.name}: {fault}" for fault in run_report["faults"]]
        if not path.with_suffix(".html").is_file():
            found.append(f"{path.name} has no page beside it")
    return found


def contents(top: Path) -> Counter[str]:
    """How often each content lies below a folder, error notes left out."""
    return Counter(_content(path) for path in _files(top) if not path.name.endswith(".error.json"))


def _files(top: Path) -> list[Path]:
    found = []
    for place, folders, names in os.walk(top):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        found += [Path(place, name) for name in (*names, *links)]
    return sorted(found)


def _content(path: Path) -> str:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return f"link to {os.readlink(path)}"
    if not stat.S_ISREG(mode):
        return f"no file, mode {stat.S_IFMT(mode):o}"
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _said(path: Path, parts: tuple[str, ...]) -> Any:
    if parts[0] == "records":
        record = json.loads(path.read_bytes())
        for each in (record, record.get("other_look") or record):
            each["provenance"].pop("run", None)
        record["files"] = [_DAY.sub("DAY", name) for name in record["files"]]
        return {key: value for key, value in record.items() if key not in _MOMENTS}
    if path.name.endswith(".error.json"):
        note = json.loads(path.read_bytes())
        return {key: value for key, value in note.items() if key not in ("when", "run")}
    return _content(path)


def _rows(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    with open(path, "rb") as file:
        rows: list[dict[str, Any]] = pq.read_table(file, use_threads=False).to_pylist()
    return rows


def _tables(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of every job in a database."""
    import duckdb

    place = filesystem.scratch(path.parent, "read.duckdb")  # DuckDB keeps what it once opened under a name
    copyfile(path, place)
    try:
        with duckdb.connect(str(place), read_only=True) as database:
            jobs = [job for (job,) in database.execute("SHOW TABLES").fetchall()]
            return {job: database.sql(f'SELECT * FROM "{job}"').to_arrow_table().to_pylist() for job in jobs}
    finally:
        place.unlink()


def _compared(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows without what may differ between two runs."""
    for row in rows:
        row["files"] = [_DAY.sub("DAY", name) for name in row["files"] or ()]
        yield {key: value for key, value in row.items() if key not in (*_MOMENTS, "run")}
