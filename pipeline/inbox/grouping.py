"""Which loose files of a box belong together, where a question comes with each document.

A set is `photo.jpg` with `photo.jpg.txt` (or `photo.txt`) beside it, a text alone, or a folder with its texts in it. A
program that puts a whole folder there with one rename may say so with an empty `.complete` in it: it is taken at once,
and the account of the run repeats neither question nor answer.
"""

import os
import re
from collections.abc import Iterable

from pipeline.plugins.formats import picture_suffixes

TEXT, QUESTION, EARLIER, COMPLETE = ".txt", "question.txt", "earlier.json", ".complete"
_DIGITS = re.compile(r"([0-9]+)")


def is_text(name: str) -> bool:
    return name.lower().endswith(TEXT)


def grouped(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Loose files by what belongs together: (text, picture), (text,) or (picture,).

    `photo.txt` belongs to `photo.jpg` where no other file is called photo, and has no text of its full name.
    """
    texts: list[str] = []
    free: dict[str, None] = {}
    for name in names:
        if is_text(name):
            texts.append(name)
        else:
            free[name] = None
    pairs: dict[str, str] = {}
    for text in texts:
        if (picture := text[: -len(TEXT)]) in free:
            pairs[text] = picture
            del free[picture]
    by_stem: dict[str, list[str]] = {}
    for name in free:
        by_stem.setdefault(os.path.splitext(name)[0], []).append(name)
    for text in texts:
        if text not in pairs and len(same := by_stem.pop(text[: -len(TEXT)], [])) == 1:
            pairs[text] = same[0]
            del free[same[0]]
    groups: list[tuple[str, ...]] = [(text, pairs[text]) if text in pairs else (text,) for text in texts]
    return groups + [(name,) for name in free]


def lacks(names: Iterable[str]) -> str:
    """What these files, together a set, still wait for: "question", "picture", or "" where they are whole."""
    texts: list[str] = []
    others: list[str] = []
    for name in names:
        (texts if is_text(name) else others).append(os.path.basename(name))
    if not texts:
        return "question"
    if all(name == EARLIER for name in others) and any(named_picture(text) for text in texts):
        return "picture"
    return ""


def named_picture(text: str) -> str:
    """The picture that a text names: photo.jpg for photo.jpg.txt, "" for question.txt."""
    picture = text[: -len(TEXT)]
    return picture if picture.lower().endswith(picture_suffixes()) else ""


def natural(name: str) -> tuple[list[str | int], str]:
    """For sorting: numbers inside names count as numbers."""
    return [int(part) if i % 2 else part.casefold() for i, part in enumerate(_DIGITS.split(name))], name
