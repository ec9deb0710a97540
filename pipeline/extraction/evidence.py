"""Find the values of a record in the text layer of the pages, for engines that give no evidence."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from pipeline.core.geometry import Box
from pipeline.core.types import Evidence, Issue, Page, Record, Word
from pipeline.parsing import label_match
from pipeline.parsing.normalize import is_cjk, squash
from pipeline.schema.fields import Field, LineReader, PrintSearch, is_empty, leaf_values, shown
from pipeline.schema.job import Job


class PrintedLine(NamedTuple):
    """The words of one line on a page, from left to right, joined by single blanks."""

    page: Page
    text: str
    words: tuple[Word, ...]

    def box(self, start: int, end: int) -> Box:
        """The box around the words with the characters from `start` to `end`."""
        at, corners = 0, []
        for word in self.words:
            if at < end and at + len(word.text) > start:
                corners += [(word.box.x, word.box.y), (word.box.right, word.box.bottom)]
            at += len(word.text) + 1
        return Box.around(corners)


class Spot(NamedTuple):
    """An occurrence of a value, in page pixels."""

    line: PrintedLine
    box: Box
    text: str


def locate(record: Record, job: Job, pages: Sequence[Page]) -> Record:
    """Adds evidence for every value without evidence that occurs in the text layer.

    If every page has a text layer, a text that does not occur in it gets the issue `unseen`: it may be invented.
    """
    readable = [page for page in pages if page.fault is None]
    wanted = [
        (path, field, value)
        for path, field, value in leaf_values(job.fields, record.data)
        if path not in record.evidence and not is_empty(value) and field.locator is not None
    ]
    if record.error or not wanted or not any(page.words for page in readable):
        return record
    places = _Places([lines_of(page) for page in readable])
    found: dict[str, Evidence] = dict(record.evidence)
    issues = list(record.issues)
    anchors: dict[str, Spot] = {}  # the first value found in each row; its other values are near it
    for path, field, value in wanted:
        row = path.rpartition("]")[0]
        spots = list(places.spots(field, value))
        if spots:
            spot = min(spots, key=lambda each: _distance(each, field, anchors.get(row)))
            if row:
                anchors.setdefault(row, spot)
            page = spot.line.page
            found[path] = Evidence(page.number, page.source_box(spot.box), spot.text)
        elif isinstance(field.locator, PrintSearch) and field.locator.verbatim and all(page.words for page in readable):
            issues.append(Issue("unseen", path, f"{shown(value)} does not occur in the text of the pages"))
    return replace(record, evidence=found, issues=tuple(issues))


def lines_of(page: Page) -> list[PrintedLine]:
    """The page's words as lines, from top to bottom. Centres of words on one line differ by at most half a height."""
    rows: list[list[Word]] = []
    for word in sorted(page.words, key=lambda each: each.box.y + each.box.height / 2):
        last = rows[-1][-1] if rows else None
        middle = word.box.y + word.box.height / 2
        if last and abs(middle - last.box.y - last.box.height / 2) <= min(word.box.height, last.box.height) / 2:
            rows[-1].append(word)
        else:
            rows.append([word])
    return [
        PrintedLine(page, " ".join(word.text for word in row), tuple(row))
        for row in (sorted(row, key=lambda each: each.box.x) for row in rows)
    ]


class _Places:
    """The lines of all pages; each line is parsed once per value type."""

    def __init__(self, sheets: Sequence[Sequence[PrintedLine]]) -> None:
        self._lines = [line for sheet in sheets for line in sheet]
        self._prints = [_Print(sheet) for sheet in sheets]
        self._read: dict[LineReader, dict[Any, list[tuple[PrintedLine, int, int]]]] = {}

    def spots(self, field: Field, value: Any) -> Iterator[Spot]:
        """The occurrences of a value, in reading order."""
        if isinstance(field.locator, PrintSearch) and isinstance(value, str):
            for page in self._prints:
                yield from page.spots(value)
        elif isinstance(field.locator, LineReader) and isinstance(value, Hashable):
            for line, start, end in self._values(field.locator).get(value, ()):
                yield Spot(line, line.box(start, end), line.text[start:end])

    def _values(self, reader: LineReader) -> Mapping[Any, list[tuple[PrintedLine, int, int]]]:
        """All values that the reader finds, with their lines and character ranges."""
        if reader not in self._read:
            places = self._read.setdefault(reader, {})
            for line in self._lines:
                for one in reader.read(line.text):
                    places.setdefault(one.value, []).append((line, one.start, one.end))
        return self._read[reader]


class _Print:
    """The letters and digits of a page in reading order, the word of each, and where a value may begin or end."""

    def __init__(self, lines: Sequence[PrintedLine]) -> None:
        self.words = [(line, word) for line in lines for word in line.words]
        letters: list[str] = []
        self.owners: list[int] = []
        self.borders: list[bool] = []
        for index, (_, word) in enumerate(self.words):
            between = " "
            for char in word.text:
                plain = squash(char)
                if not plain:
                    between += char
                for letter in plain:
                    # 12 does not occur in 1,234.50: a sign between two digits joins them
                    held = letter.isdigit() and letters[-1:] and letters[-1].isdigit() and between in (".", ",", "'")
                    self.borders.append(bool(between and not held) or is_cjk(letter))
                    letters.append(letter)
                    self.owners.append(index)
                    between = ""
        self.borders.append(True)
        self.text = "".join(letters)

    def spots(self, value: str) -> Iterator[Spot]:
        """Occurrences of a text, also across lines; blanks, case and punctuation are ignored."""
        wanted = squash(value)
        at = self.text.find(wanted) if wanted else -1
        while at >= 0:
            end = at + len(wanted)
            if self.borders[at] and (self.borders[end] or is_cjk(wanted[-1])):
                inside = [self.words[owner] for owner in dict.fromkeys(self.owners[at:end])]
                boxes = [word.box for _, word in inside]
                box = Box.around(corner for each in boxes for corner in ((each.x, each.y), (each.right, each.bottom)))
                yield Spot(inside[0][0], box, " ".join(word.text for _, word in inside))
            at = self.text.find(wanted, at + 1)


def _distance(spot: Spot, field: Field, anchor: Spot | None) -> tuple[bool, float]:
    """In a row: the distance from the row's first value. Elsewhere: lines with the field's label come first."""
    if anchor:
        other_page = spot.line.page.number != anchor.line.page.number
        return other_page, abs(spot.box.y + spot.box.height / 2 - anchor.box.y - anchor.box.height / 2)
    return not any(label_match.find(spot.line.text, label) for label in field.labels), 0.0
