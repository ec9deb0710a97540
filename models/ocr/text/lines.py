"""From a page to its printed lines: the file's own text layer where it is sound, else OCR of the picture."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.core.geometry import Box
from pipeline.core.types import Word

WORD_GAP = 0.65  # of the height of the print: words of a text layer that are nearer belong to one line
SAME_ROW = 0.6  # of the height of the lower word: how much of it must be beside the word before


@dataclass(frozen=True, slots=True)
class Line:
    """A run of print as read: its text, its box in page pixels, and the recognition score, 0..1."""

    text: str
    box: Box
    score: float


def join(words: Sequence[Word]) -> list[Line]:
    """Neighbouring words of a text layer as lines, in the order of the file. They are sure: the score is 1."""
    lines: list[Line] = []
    for word in words:
        text, box = word.text.strip(), word.box
        if not text:
            continue
        last = lines[-1] if lines else None
        if last is not None and _follows(last.box, box):
            around = Box.around(
                [(last.box.x, last.box.y), (last.box.right, last.box.bottom), (box.x, box.y), (box.right, box.bottom)]
            )
            close = box.x - last.box.right < 0.1 * box.height and _wide(last.text[-1]) and _wide(text[0])
            lines[-1] = Line(f"{last.text}{'' if close else ' '}{text}", around, 1.0)
        else:
            lines.append(Line(text, box, 1.0))
    return lines


def _follows(line: Box, word: Box) -> bool:
    low, high = min(line.height, word.height), max(line.height, word.height)
    attachment = min(line.bottom, word.bottom) - max(line.y, word.y)
    return -0.3 * high < word.x - line.right < WORD_GAP * high and attachment >= SAME_ROW * low and high < 2 * low


def _wide(char: str) -> bool:
    """Chinese, Japanese and full-width characters, which are written without blanks between them."""
    return "⺀" <= char <= "\uffee"
