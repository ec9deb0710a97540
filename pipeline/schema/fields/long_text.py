"""`prose` and `markdown`: texts of many lines."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field as Key

from pipeline.schema.fields.base import Coerced, Problem, RuleType, Widget
from pipeline.schema.fields.code_check import headings
from pipeline.schema.fields.model import Text
from pipeline.schema.fields.text import Textual

_UNPRINTED = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u2060\ufeff\ud800-\udfff]")
_FENCE = re.compile(r"^[ \t]{0,3}(`{3,}|~{3,})[ \t]*([^\s`]*)[^\n`]*$", re.MULTILINE)

MOST_CHARACTERS = 100_000  # of one answer: more than a window of dense pages


class LongField(Textual):
    """Keeps line breaks and indentation; removes empty lines around the text and unprintable characters.

    A text longer than `max_length` is kept, with a problem. A job whose only field is long is asked in free text.
    """

    long_text: ClassVar[bool] = True
    joins_windows: ClassVar[bool] = True
    rule_type: ClassVar[RuleType | None] = None
    locator: ClassVar[None] = None  # it runs over many lines
    widget: ClassVar[Widget] = Widget("long")

    max_length: int = Key(default=20_000, ge=1, le=MOST_CHARACTERS)

    def free_text_prompt(self) -> str:
        """The prompt where this is the only field and the answer is its text."""
        return f"Answer with {self.prompt_text()}. Write nothing else."

    def answer_schema(self) -> dict[str, Any]:
        return {"type": ["string", "null"], "maxLength": self.max_length}

    def answer_tokens(self) -> int:
        return self.max_length // 3  # three characters a token in European languages, and in code

    def coerce(self, answer: Any) -> Coerced:
        return self.nothing() if answer is None else self.parse(answer)  # of any length, and "-" may be the text

    def parse(self, answer: Any) -> Coerced:
        if isinstance(answer, bool | dict | list):
            return self.wrong(answer)
        text = self._text(_printable(str(answer)))
        if not text or text.strip().casefold() == "null":
            return self.nothing()
        if len(text) > MOST_CHARACTERS:
            return self.refused(text, f"is longer than {MOST_CHARACTERS:,} characters")
        too_long = f"it has {len(text):,} characters, more than {self.max_length:,} (max_length)"
        fault = too_long if len(text) > self.max_length else self.fault(text)
        return Coerced(text, (Problem("bad_text", fault),) if fault else ())

    def _text(self, answer: str) -> str:
        """The part of the answer that is the text."""
        return trimmed(answer)

    def fault(self, text: str) -> str | None:
        """A problem of a text that is kept nevertheless."""
        return None


class ProseField(LongField):
    """Text in the engine's own words; with `verbatim`, the text of the page."""

    type_name: ClassVar[str] = "prose"
    answers_question: ClassVar[bool] = True
    finder: ClassVar[str] = "prose"

    type: Literal["prose"] = "prose"
    verbatim: bool = False

    @property
    def readable(self) -> bool:
        return self.verbatim

    def value_description(self) -> str:
        return "the text of the page as it stands, line by line" if self.verbatim else "plain text"

    def example(self) -> str:
        return "Dear Sir,\nthe pump was repaired." if self.verbatim else "The picture shows a pump. Its seal leaks."


class MarkdownField(LongField):
    """Markdown. `columns` are required headings of a table in it. `tables_only` asks for tables only."""

    type_name: ClassVar[str] = "Markdown"
    finder: ClassVar[str] = "markdown"

    type: Literal["markdown"] = "markdown"
    columns: tuple[Text, ...] = ()
    tables_only: bool = False

    @property
    def file_suffix(self) -> str:
        return ".md"

    def value_description(self) -> str:
        what = "the tables of the page, as Markdown" if self.tables_only else "Markdown"
        return what + (f" with one table that has the columns {', '.join(self.columns)}" if self.columns else "")

    def _text(self, answer: str) -> str:
        """Removes a fence around the whole text."""
        text = trimmed(answer)
        found = blocks(text)
        if len(found) == 1 and found[0].first == 0 and found[0].last == len(text):
            return found[0].text if found[0].language in ("", "markdown", "md") else text
        return text

    def fault(self, text: str) -> str | None:
        if not self.columns:
            return None
        tables = headings(text)
        if not tables:
            return f"it has no table; one with the columns {', '.join(self.columns)} is asked for"
        gaps: list[list[str]] = [
            [name for name in self.columns if _plain(name) not in map(_plain, table)] for table in tables
        ]
        if all(gaps):
            return f"its table has no column {', '.join(sorted(gaps, key=len)[0])}"
        return None

    def example(self) -> str:
        names = self.columns or ("Part", "Count")
        rows = [names, ["---"] * len(names), ["12"] * len(names)]
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)


class Block:
    """A fenced block: its language in lower case, its text, and its span with the fences."""

    __slots__ = ("first", "language", "last", "text")

    def __init__(self, language: str, text: str, first: int, last: int) -> None:
        self.language, self.text, self.first, self.last = language.casefold(), text, first, last


def blocks(text: str) -> Sequence[Block]:
    """The fenced blocks of a text, in order. An unclosed one extends to the end, as in CommonMark."""
    found: list[Block] = []
    opening: re.Match[str] | None = None
    for fence in _FENCE.finditer(text):
        if opening is None:
            opening = fence
        elif not fence[2] and fence[1][0] == opening[1][0] and len(fence[1]) >= len(opening[1]):
            inside = text[opening.end() + 1 : max(opening.end() + 1, fence.start() - 1)]
            found.append(Block(opening[2], trimmed(inside), opening.start(), fence.end()))
            opening = None
    if opening is not None:
        found.append(Block(opening[2], trimmed(text[opening.end() + 1 :]), opening.start(), len(text)))
    return found


def trimmed(text: str) -> str:
    """Strip empty lines before and blanks after; the first line keeps its indentation."""
    kept = text.rstrip()
    start = len(kept) - len(kept.lstrip())
    return kept[kept.rfind("\n", 0, start) + 1 :]


def _printable(text: str) -> str:
    return _UNPRINTED.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def _plain(heading: str) -> str:
    return re.sub(r"[\s*_`]+", "", unicodedata.normalize("NFKC", heading)).casefold()
