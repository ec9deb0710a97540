"""Damaged, encrypted, huge, odd and hostile files through the whole pipeline: what was expected, and what came.

    python tests/stress/hostile.py [--every N] [--engine ocr|echo] [--all]
    python tests/stress/hostile.py --bombs [--engine ocr|echo] [--all]

Needs the labelled sets (SCANMILL_DATA or ../shared/data): their folder `hard` has files of many projects with the
outcome that a person would expect. A file that can be read is read; one that cannot gives a reason and a cure; where
there is nothing to read, there is no value. `--bombs` takes the files of bombs.py instead, which are made to cost all
memory or time: each is refused with a reason within the limits, and the run goes on.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))
from tests.stress import bombs  # noqa: E402 - found from any folder

# Where we differ from the expectation written beside the file, and why.
READ_ALL_THE_SAME: Mapping[str, str] = {
    "client-lib-test-data__receipt.heic": "HEIC is read",
    "exif-samples__HMD_Nokia_8.3_5G_hdr.heif": "HEIC is read",
    "unstructured__DA-1p.heic": "HEIC is read",
    "unstructured__bmp_24.bmp": "BMP is read",
}
REFUSED_ALL_THE_SAME: Mapping[str, str] = {
    "derived_jpg_flipped_bytes.jpg": "damage in the middle: values could be wrong with nobody told",
    "format-corpus__T02-03_002_page-object-wrong-type.pdf": "its only page is no page",
    "qpdf__bad34.pdf": "its only page cannot be loaded",
}
EMPTY = ("img-noise", "img-tiny", "pdf-blank", "pdf-damaged-blank")  # kinds with nothing to read on their pages
BOMB_LIMITS = "limits: {seconds: 20, memory_mib: 1024}\n"
BAD_ENDS = ("crashed", "too_slow", "too_much_memory", "engine", "vanished")  # no file of the set deserves these


class Row(NamedTuple):
    file: str
    kind: str
    expected: str
    got: str
    fault: str


def hard_folder() -> Path | None:
    """Where the set lies, or None."""
    shared = Path(os.environ.get("SCANMILL_DATA", PROJECT.parent / "shared" / "data"))
    return shared / "hard" if (shared / "hard" / "manifest.csv").is_file() else None


def listed(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def run(root: Path, engine: str, more: str = "") -> dict[str, Any]:
    """The account of one run over everything in inbox/invoices. Raises SystemExit where there is none."""
    config = root.parent / "machine.yaml"
    config.write_text(f"engine: {engine}\nsettle_s: 0\n{more}")
    words = ["--root", str(root), "--config", str(config), "--job", "invoice", "--json"]
    words = [sys.executable, str(PROJECT / "run_batch.py"), *words]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1) or not done.stdout:
        raise SystemExit(f"the run ended with {done.returncode}: {done.stderr}")
    run_report: dict[str, Any] = json.loads(done.stdout)
    return run_report


def compared(root: Path, rows: list[dict[str, str]], run_report: dict[str, Any]) -> list[Row]:
    """A row for each file of the set."""
    ends = {each["name"]: each for each in run_report["documents"]}
    firsts = {each["document_id"]: each for each in run_report["documents"] if each["outcome"] != "duplicate"}
    return [_row(root, row, firsts.get(ends[row["file"]]["document_id"], ends[row["file"]])) for row in rows]


def _row(root: Path, row: dict[str, str], end: dict[str, Any]) -> Row:
    file, expected = row["file"], row["expected"]
    error = end["error"]
    got = error["code"] if error else "review" if end["jobs"]["invoice"]["review"] else "ok"
    faults = []
    refusal = expected == "clear error"
    known = file in READ_ALL_THE_SAME or file in REFUSED_ALL_THE_SAME
    if (error is not None) != (refusal != known):
        faults.append("not as expected")
    if got in BAD_ENDS:
        faults.append(error["detail"])
    if error is not None:
        faults += _silences(root / "failed" / "invoices" / f"{end['name']}.error.json")
    elif row["kind"] in EMPTY:
        faults += [f"invented {leaf}" for path in end["records"] for leaf in _values(root / path)]
    return Row(file, row["kind"], expected, got, "; ".join(faults))


def _silences(note: Path) -> list[str]:
    """What the note beside a failed file leaves open."""
    if not note.is_file():
        return ["no .error.json"]
    said = json.loads(note.read_bytes())
    return [f".error.json has no {key}" for key in ("file", "code", "what", "where", "what_to_do") if not said.get(key)]


def _values(record: Path) -> list[str]:
    said = json.loads(record.read_bytes())["data"]
    return [f"{name}: {value}" for name, value in said.items() if value not in (None, [], {}) and any(_leaves(value))]


def _leaves(value: Any) -> list[bool]:
    if isinstance(value, dict):
        return [leaf for each in value.values() for leaf in _leaves(each)]
    if isinstance(value, list):
        return [leaf for each in value for leaf in _leaves(each)]
    return [value is not None]


def bombs_told(root: Path, run_report: dict[str, Any]) -> list[Row]:
    """A row for each bomb."""
    return [_bomb_row(root, end) for end in sorted(run_report["documents"], key=lambda end: str(end["name"]))]


def _bomb_row(root: Path, end: dict[str, Any]) -> Row:
    error, faults = end["error"], []
    if error is not None:
        faults = _silences(root / "failed" / "invoices" / f"{end['name']}.error.json")
    elif end["name"] not in bombs.READ_ALL_THE_SAME:
        faults = ["it was read, as if nothing were wrong"]
    else:
        faults = [f"invented {leaf}" for path in end["records"] for leaf in _values(root / path)]
    got = error["code"] if error else "read"
    return Row(end["name"], f"{end['seconds']:.1f} s", "clear error", got, "; ".join(faults))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="only every N-th file")
    parser.add_argument("--engine", default="ocr", choices=["ocr", "echo"])
    parser.add_argument("--bombs", action="store_true", help="the files of bombs.py in place of the set")
    parser.add_argument("--all", action="store_true", help="a line for each file, not only for those that surprise")
    given = parser.parse_args()
    folder, begun = hard_folder(), time.monotonic()
    if folder is None and not given.bombs:
        raise SystemExit("needs the labelled sets: set SCANMILL_DATA to their folder")
    with tempfile.TemporaryDirectory() as place:
        root = Path(place, "root")
        (inbox := root / "inbox" / "invoices").mkdir(parents=True)
        if given.bombs or folder is None:
            bombs.write(inbox)
            run_report = run(root, given.engine, BOMB_LIMITS)
            found = bombs_told(root, run_report)
        else:
            rows = listed(folder)[:: given.every]
            for row in rows:
                shutil.copyfile(folder / "files" / row["file"], inbox / row["file"])
            run_report = run(root, given.engine)
            found = compared(root, rows, run_report)
    for each in found:
        if given.all or each.fault:
            print(f"{each.expected:16}{each.got:18}{each.kind:32}{each.file}  {each.fault}")
    for (expected, got), count in sorted(Counter((each.expected, each.got) for each in found).items()):
        print(f"{count:6}  expected: {expected:16} got: {got}")
    for fault in run_report["faults"]:
        print(f"the account: {fault}")
    faults = [each for each in found if each.fault] + run_report["faults"]
    print(f"{len(found)} files, {len(faults)} violations, {time.monotonic() - begun:.0f} s, engine {given.engine}")
    raise SystemExit(1 if faults else 0)


if __name__ == "__main__":
    main()
