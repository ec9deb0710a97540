"""`text`: a short printed text."""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field as Key
from pydantic import field_validator

from pipeline.schema.fields import bounded_regex
from pipeline.schema.fields.base import Coerced, Field, PrintSearch, RuleType, Widget
from pipeline.schema.fields.similarity import CLOSE_TEXT, text_similarity, value_text

if TYPE_CHECKING:
    import pyarrow as pa

# kind of text -> candidate finder of the OCR engine
TEXT_KINDS = {
    "": "text", "name": "name", "company": "company", "address": "address", "id": "id", "phone": "phone",
    "email": "email", "url": "url",
}  # fmt: skip
if TYPE_CHECKING:
    Kind = str
else:
    Kind = Literal[tuple(TEXT_KINDS)]
LONG_LINE = 1000  # characters; longer texts get an input of several lines

# Not supported by grammars of decoders: look-around, back references, word boundaries. Checked afterwards.
_BEYOND_GRAMMAR = re.compile(r"\(\?(?!:)|\\[1-9bBAZ]|\*\?|\+\?|\?\?|\}\?|[*+?}]\+|(?<!\[)[\^$]")
_UNPRINTED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200b\u2060\ufeff\ud800-\udfff]")


class Textual(Field):
    """Base of texts, which are compared by similarity."""

    close_from: ClassVar[float] = CLOSE_TEXT

    def label_values(self, printed: Sequence[Any], typed: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(map(value_text, (*printed, *typed)))

    def similarity(self, expected: Any, value: Any, tolerance: Decimal) -> float:
        return text_similarity(str(expected), str(value))

    def arrow(self) -> "pa.DataType":
        import pyarrow as pa

        return pa.string()


class TextField(Textual):
    """Single blanks; line breaks are kept. `pattern` is a regular expression for the whole value."""

    type_name: ClassVar[str] = "text"

    rule_type: ClassVar[RuleType] = RuleType("text")
    locator: ClassVar[PrintSearch] = PrintSearch(verbatim=True)

    type: Literal["text"] = "text"
    kind: Kind = ""
    pattern: str | None = None
    max_length: int = Key(default=500, ge=1, le=20_000)

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        bounded_regex.check(pattern or "")
        return pattern

    @property
    def finder(self) -> str:
        return TEXT_KINDS[self.kind]

    @property
    def value_pattern(self) -> str | None:
        return self.pattern

    @property
    def widget(self) -> Widget:
        return Widget("long" if self.max_length > LONG_LINE else "line")

    def value_description(self) -> str:
        text = f"text ({self.kind})" if self.kind else "text"
        return f"{text} of the form {self.pattern}" if self.pattern else text

    def answer_schema(self) -> dict[str, Any]:
        found: dict[str, Any] = {"type": ["string", "null"], "maxLength": self.max_length}
        if self.pattern and not _BEYOND_GRAMMAR.search(self.pattern):
            found["pattern"] = f"^(?:{self.pattern})$"
        return found

    def answer_tokens(self) -> int:
        return min(self.max_length, 120) // 2 + 8

    def coerce(self, answer: Any) -> Coerced:
        if isinstance(answer, str) and answer.strip().casefold() not in ("", "null"):
            return self.parse(answer)  # "None" and "-" may be printed
        return super().coerce(answer)

    def parse(self, answer: Any) -> Coerced:
        if isinstance(answer, bool | dict | list):
            return self.wrong(answer)
        text = tidy(str(answer))
        if not text:
            return Coerced(None)
        if len(text) > self.max_length:
            return self.refused(text, f"is longer than {self.max_length} characters (max_length)")
        try:
            if self.pattern and not bounded_regex.matches(self.pattern, text):
                text = re.sub(r"\s", "", text)  # identifiers may be printed in groups
                if not bounded_regex.matches(self.pattern, text):
                    return self.refused(answer, f"does not have the form {self.pattern}")
        except TimeoutError:
            limit = f"{bounded_regex.MATCH_S:g} s"
            took = f"took longer than {limit} to compare with the form {self.pattern}; simplify the pattern"
            return self.refused(answer, took)
        return Coerced(text)

    def example(self) -> str | None:
        return None if self.pattern else "Aurora Paper Ltd"[: self.max_length].strip()


def tidy(text: str) -> str:
    """Normalize to single blanks, without empty lines and unprintable characters."""
    lines = (
        re.sub(r"[^\S\n]+", " ", line).strip() for line in _UNPRINTED.sub("", text.replace("\r", "\n")).split("\n")
    )
    return "\n".join(line for line in lines if line)
