"""A night's work to break: documents of every kind, jobs that ask about them, and scripted answers.

What the documents say is scripted (the echo engine), so a night takes a second and has one right outcome.
"""

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

JOBS = {
    "note": "preprocess: []\nfields:\n  number: {type: text, required: true}\n  total: {type: money}\n",
    "place": "inbox: note\npreprocess: []\nfields:\n  place: {type: text}\n",
    "sheet": "per: page\npreprocess: []\nfields:\n  number: {type: text}\n  total: {type: money}\n",
    "screen": "second_look: true\npreprocess: []\nfields:\n  code: {type: code, language: html}\n"
    "  told: {type: markdown}\n  place: {type: text, required: true}\n"
    "  marks: {type: list, fields: {box: {type: box, required: true}, word: {type: text}}}\n",
    "mark": "inbox: screen\nper: page\npreprocess: []\nfields:\n"
    "  marks: {type: list, fields: {box: {type: box, required: true}, word: {type: text}}}\n",
    "ask": "questions: true\npreprocess: []\nfields:\n  answer: {type: markdown, required: true}\n",
}
_SEEN = {"code": "<b>A-1</b>", "told": "# A-1", "marks": [{"box": [3, 4, 30, 20], "word": "stamp"}]}
GOOD = json.dumps({"number": "A-1", "total": "12.50", "place": "Ulm", **_SEEN})
KINDS = 18
OLD = 1_700_000_000  # seconds since 1970: every file lay still for years


@dataclass(frozen=True)
class Night:
    """A root that waits for a run. `words` are the options of the command line that make it run."""

    root: Path
    config: Path

    @property
    def words(self) -> list[str]:
        return ["--root", str(self.root), "--config", str(self.config), "--jobs", str(self.config.parent / "jobs")]


def copied(night: Night, root: Path) -> Night:
    """The same files and times at another root, which may be there but empty; pipes and links are copied as such."""
    root.mkdir(exist_ok=True)
    subprocess.run(["cp", "-a", f"{night.root}/.", str(root)], check=True)
    return Night(root, night.config)


def waiting(inbox: Path) -> int:
    """How many documents lie there: in `ask` a picture and its text are one, and so is a folder."""
    sets = {path.name.partition(".")[0] for path in (inbox / "ask").iterdir()}
    others = [path for box in inbox.iterdir() if box.name != "ask" for path in box.rglob("*")]
    return len(sets) + sum(path.is_symlink() or not path.is_dir() for path in others)


def lay_out(
    place: Path, documents: int = 60, workers: int = 2, settle_s: float = 0, sinks: Sequence[str] = ("parquet",)
) -> Night:
    """Makes `place`/root with that many documents (18 kinds in turn) in its inbox, and jobs and config beside it."""
    night = Night(place / "root", place / "machine.yaml")
    for box in ("note", "sheet", "screen", "ask"):
        (night.root / "inbox" / box).mkdir(parents=True)
    (place / "jobs").mkdir()
    for name, text in JOBS.items():
        (place / "jobs" / f"{name}.yaml").write_text(text)
    replies = place / "replies.json"
    replies.write_text(json.dumps({"*": GOOD, **_told(documents)}))
    night.config.write_text(
        f"engine: echo\nweights: {replies}\nsettle_s: {settle_s}\nworkers: {workers}\nsinks: [{', '.join(sinks)}]\n"
    )
    for number in range(documents):
        for path in _drop(night.root / "inbox", number):
            os.utime(path, (OLD + number, OLD + number), follow_symlinks=False)
    return night


def _told(documents: int) -> dict[str, str]:
    """What is said about the documents that the engine cannot answer, or answers in part."""
    numbers = range(documents)
    return {
        **{f"refused {n}.png": "<error>out of memory" for n in numbers if n % KINDS == 5},
        **{f"doubtful {n}.png": '{"number": null, "total": "1"}' for n in numbers if n % KINDS == 6},
        **{f"half {n}.png": json.dumps(_SEEN) for n in numbers if n % KINDS == 13},
    }


def _drop(inbox: Path, number: int) -> list[Path]:
    """One of the kinds, in turn; every path that was made, a folder after what lies in it."""
    note, sheet, screen, ask = (inbox / box for box in ("note", "sheet", "screen", "ask"))
    match number % KINDS:
        case 0 | 1 | 2:
            return [_picture(note / f"{number:02}.png", number)]
        case 3:
            (note / "Müller\n“Söhne”").mkdir(exist_ok=True)
            return [_picture(note / "Müller\n“Söhne”" / f"-{number} 🧾.png", number)]
        case 4:  # the same bytes as an earlier one
            return [_picture(note / f"twin {number}.png", number - 4)]
        case 5:
            return [_picture(note / f"refused {number}.png", number)]
        case 6:
            return [_picture(note / f"doubtful {number}.png", number)]
        case 7:
            return [_text(note / f"torn {number}.pdf", f"%PDF-1.4\n{number}")]
        case 8:
            return [_pages(sheet / f"pages {number}.tiff", number, 2 + number // KINDS)]
        case 9:
            whole = _pages(sheet / f"cut {number}.tiff", number, 4)
            whole.write_bytes(whole.read_bytes()[:-40])
            return [whole]
        case 10:
            return [_pages(sheet / f"paper {number}.pdf", number, 3)]
        case 11:
            if number % (2 * KINDS) == 11:
                os.symlink("/etc/hostname", note / f"link {number}.pdf")
                return [note / f"link {number}.pdf"]
            os.mkfifo(note / f"pipe {number}.pdf")
            return [note / f"pipe {number}.pdf"]
        case 12:
            return [_pages(screen / f"screens {number}.tiff", number, 2)]
        case 13:  # what is missing is asked again
            return [_picture(screen / f"half {number}.png", number)]
        case 14:
            return [
                _picture(ask / f"photo {number}.png", number),
                _text(ask / f"photo {number}.png.txt", "What is it?"),
            ]
        case 15:
            folder = ask / f"Two of {number}"
            folder.mkdir()
            pictures = [_picture(folder / f"{each}.png", number + each) for each in (2, 10)]
            return [*pictures, _text(folder / "question.txt", "Which is darker?"), folder]
        case 16:
            return [_text(ask / f"alone {number}.txt", f"What is {number} and {number}?")]
        case _:  # a pair whose question is empty
            return [_picture(ask / f"mute {number}.png", number), _text(ask / f"mute {number}.txt", " ")]


def _text(path: Path, words: str) -> Path:
    path.write_text(words)
    return path


def _picture(path: Path, colour: int) -> Path:
    Image.new("RGB", (60, 40), (colour % 256, colour // 256, 7)).save(path)
    return path


def _pages(path: Path, colour: int, count: int) -> Path:
    pages = [Image.new("RGB", (60, 40), (colour % 256, page, 99)) for page in range(count)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    return path
