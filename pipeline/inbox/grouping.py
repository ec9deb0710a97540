"""Group the loose files of an inbox in which each document comes with a question.

A set is `photo.jpg` with `photo.jpg.txt` (or `photo.txt`), a text alone, or a folder with texts. A program that adds a
whole folder by one rename may put an empty `.complete` in it: the folder is then claimed at once, and the run report
contains neither question nor answer.
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
    """Groups loose files: (text, picture), (text,) or (picture,).

    `photo.txt` belongs to `photo.jpg` if no other file has the stem photo and there is no `photo.jpg.txt`.
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
    """What a set of files still lacks: "question", "picture", or "" if it is complete."""
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
    """The picture named by a text file: photo.jpg for photo.jpg.txt, "" for question.txt."""
    picture = text[: -len(TEXT)]
    return picture if picture.lower().endswith(picture_suffixes()) else ""


def natural(name: str) -> tuple[list[str | int], str]:
    """A sort key that compares numbers inside names by value."""
    return [int(part) if i % 2 else part.casefold() for i, part in enumerate(_DIGITS.split(name))], name
