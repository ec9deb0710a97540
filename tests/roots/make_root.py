"""Makes the root of a version, for tests that open it with newer ones. Run it in a checkout of that version.

    git worktree add /tmp/v0_1 dbc7a7f
    cd /tmp/v0_1 && python …/tests/roots/make_root.py …/tests/roots/v0_1.tar.xz

It holds a record of every field type, pages, a question, corrections, an approval, a failed document, a duplicate, a
conversation of the Ask page, what a killed run had in hand, and a save that was cut off.
"""

import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PROJECT = Path.cwd()
sys.path.insert(0, str(PROJECT))

from PIL import Image  # noqa: E402

from pipeline.schema.job import load_jobs  # noqa: E402
from pipeline.storage.corrections import open_draft, save  # noqa: E402
from web.data.conversations import ConversationStore, StoredImage  # noqa: E402

EVERY = """\
preprocess: []
review_below: 0.5
fields:
  number: {type: text, kind: id, required: true}
  count: {type: integer}
  weight: {type: number}
  total: {type: money, required: true}
  issued: {type: date, order: DMY}
  at: {type: time}
  paid: {type: yesno}
  currency: {type: choice, options: {EUR: ["€"], CNY: ["元"]}}
  marks: {type: choice, many: true, options: [round, flat]}
  pressure: {type: measure, unit: kPa}
  story: {type: prose}
  sheet: {type: markdown}
  program: {type: code, language: json}
  place: {type: box}
  supplier: {type: group, fields: {name: {type: text, kind: company}, since: {type: date}}}
  lines: {type: list, fields: {what: {type: text}, amount: {type: money}}}
  phones: {type: list, item: {type: text}}
rules: [sum(lines.amount) == total]
"""
ANSWER = {
    "number": "A-1", "count": "12", "weight": "0,75", "total": "30,00 €", "issued": "15.06.2024", "at": "14:30",
    "paid": "yes", "currency": "€", "marks": ["round"], "pressure": "1.2 MPa", "story": "苏州 and Köln.",
    "sheet": "| a | b |\n|---|---|\n| 1 | 2 |", "program": '{"a": [1, 2]}', "place": {"bbox_2d": [4, 5, 20, 30]},
    "supplier": {"name": "Müller & 张", "since": "2003-02-01"},
    "lines": [{"what": "Bolt", "amount": "10.00"}, {"what": "Nut", "amount": "20.00"}], "phones": ["1", "2"],
}  # fmt: skip
REPLIES = {
    "first.png": ANSWER,
    "doubt.png": {**ANSWER, "number": None, "total": "31.00"},
    "corrected.png": {**ANSWER, "number": "A-3"},
    "approved.png": {**ANSWER, "number": "A-4", "total": "99.00"},
    "late.png": {**ANSWER, "number": "A-5"},
    "*": {"number": "P-1"},
}


def run(root: Path, *words: str, codes: tuple[int, ...] = (0, 1)) -> None:
    config = ["--config", str(root / "machine.yaml"), "--root", str(root), "--jobs", str(root / "jobs")]
    done = subprocess.run([sys.executable, str(PROJECT / "run_batch.py"), *words, *config], check=False)
    assert done.returncode in codes, done.returncode


def drop(root: Path, name: str, colour: int, box: str = "every") -> Path:
    path = root / "inbox" / box / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (60, 40), (colour, 99, 7)).save(path)
    return path


def lay_out(root: Path) -> None:
    (root / "jobs").mkdir()
    (root / "jobs" / "every.yaml").write_text(EVERY, "utf-8")
    (root / "jobs" / "pages.yaml").write_text(
        "preprocess: []\nper: page\nfields: {number: {type: text, required: true}}\n"
    )
    shutil.copy(PROJECT / "jobs" / "ask.yaml", root / "jobs" / "ask.yaml")
    replies = {name: json.dumps(reply, ensure_ascii=False) for name, reply in REPLIES.items()}
    replies["photo.png"] = "It is **green**."
    (root / "replies.json").write_text(json.dumps(replies), "utf-8")
    (root / "machine.yaml").write_text(f"engine: echo\nweights: {root}/replies.json\nsettle_s: 0\nworkers: 1\n")


def fill(root: Path) -> None:
    for number, name in enumerate(("first.png", "doubt.png", "corrected.png", "approved.png")):
        drop(root, name, number)
    (root / "inbox" / "every" / "torn.pdf").write_bytes(b"%PDF-1.4\n torn")
    two = [Image.new("RGB", (60, 40), (colour, 1, 1)) for colour in (1, 2)]
    (root / "inbox" / "pages").mkdir()
    two[0].save(root / "inbox" / "pages" / "two.tiff", save_all=True, append_images=two[1:])
    drop(root, "photo.png", 9, "ask")
    (root / "inbox" / "ask" / "photo.png.txt").write_text("What colour?")
    run(root, "run")
    drop(root, "again.png", 0)
    run(root, "run")


def review(root: Path) -> None:
    """A person corrects one record and approves another."""
    (job,) = load_jobs(root / "jobs", ["every"])
    found = {json.loads(path.read_text())["document"]["name"]: path for path in (root / "records/every").glob("*.json")}
    opened = open_draft(root, job, found["corrected.png"].stem, None)
    save(root, opened, {"number": "R-3", "supplier.name": "李"}, by="Ada")
    save(root, open_draft(root, job, found["approved.png"].stem, None), {}, approve=True, by="Bob")
    (root / ".locks" / "every.saving").write_text(f"records/every/{found['corrected.png'].name}")


def converse(root: Path) -> None:
    (record,) = (root / "records" / "ask").glob("*.json")
    store = ConversationStore(root)
    conversation = store.begin("ada", "What colour?")
    picture = store.folder(conversation) / "1.png"
    Image.new("RGB", (60, 40), (9, 99, 7)).save(picture)
    size = picture.stat().st_size
    store.add_image(conversation, StoredImage("1.png", "photo.png", "PNG", 60, 40, size, picture.read_bytes()))
    store.set_answer(store.ask(conversation, "What colour?", record.stem, False), "It is **green**.", "echo")


def cut_off(root: Path) -> None:
    """What a run that was killed leaves: a claimed file, a temporary one, and its name in the lock."""
    claimed = root / "working" / "2026-11-22T031500.123-elsewhere-4711" / "every"
    claimed.mkdir(parents=True)
    drop(root, "late.png", 7).rename(claimed / "late.png")
    (root / ".tmp").mkdir(exist_ok=True)
    (root / ".tmp" / "0123456789abcdef.json").write_text("{")
    (root / ".lock").write_text('{"pid": 4711, "host": "elsewhere", "run": "2026-11-22T031500.123-elsewhere-4711"}\n')


def main(archive: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        lay_out(root)
        fill(root)
        review(root)
        converse(root)
        cut_off(root)
        (root / "machine.yaml").unlink()
        with tarfile.open(archive, "w:xz") as out:
            out.add(root, ".")
    sys.stdout.write(f"{archive}: {archive.stat().st_size} bytes\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
