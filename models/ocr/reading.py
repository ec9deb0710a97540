"""From a page to its printed lines: the PDF's own text layer where it is sound, else RapidOCR on the picture."""

from dataclasses import dataclass

from pipeline.types import Box


@dataclass(frozen=True, slots=True)
class Line:
    """A run of print as read: its words, where it stands in page pixels, and how sure the reader was, 0..1."""

    text: str
    box: Box
    score: float
