"""The base class of field types: their YAML keys, and the hooks that the stages call.

Stages call hooks and never test the type of a field, so a new type is one class. Abstract hooks have no safe default: a
class without one fails at its definition. docs/extending.md shows a complete type.
"""

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pipeline.parsing import Found
from pipeline.schema.fields.model import Closed, PageRegion, Text, region_words

if TYPE_CHECKING:
    import pyarrow as pa

PRINTED_LIMIT = 80  # maximal length of a printed number, date or measure in an answer
ITEM = ""  # the name of the one column of a plain list

# Words for "no value"; never a value of a typed field.
NOTHING = frozenset({"", "null", "none", "nil", "n/a", "n.a.", "-", "--", "---", "–", "—", "/", "无", "不详", "未填"})


class Problem(NamedTuple):
    """A problem of an answer. `path_suffix` is the path below the field: "", ".name", "[0].amount"."""

    code: str
    message: str
    path_suffix: str = ""


class Coerced(NamedTuple):
    """A typed value, or None (for groups a dict, for lists a list), and the problems of the answer."""

    value: Any
    problems: tuple[Problem, ...] = ()


class RuleType(NamedTuple):
    """The type of a value in rules. `money` is compared within the job's tolerance.

    `options` are the possible texts; empty: any text.
    """

    kind: Literal["number", "date", "time", "text", "yesno", "texts"]
    money: bool = False
    options: tuple[str, ...] = ()


class Widget(NamedTuple):
    """The control of the review form: its kind, the options of a choice, the unit after a number."""

    kind: Literal["line", "number", "long", "choice", "box"]
    options: tuple[str, ...] = ()
    unit: str = ""


class PrintSearch(NamedTuple):
    """Evidence for texts: the place where the letters and digits of the value are printed.

    `verbatim`: the value is copied from the page, so one that is not there is reported as `unseen`.
    """

    verbatim: bool


class LineReader(NamedTuple):
    """Finds all values of a type in one printed line: `find(line, *arguments)`.

    Evidence is the place of an equal value. Fields with equal readers share the results.
    """

    find: Callable[..., Sequence[Found]]
    arguments: tuple[Any, ...] = ()

    def read(self, line: str) -> Sequence[Found]:
        return self.find(line, *self.arguments)


class Field(Closed):
    """One value to read from a document. Each type is a subclass with a default for `type`."""

    type_name: ClassVar[str]  # in messages: "a date". Required.
    max_chars: ClassVar[int] = 300  # longer answers are not parsed, which bounds the time
    companion_suffix: ClassVar[str] = ""  # of a second column with the value as printed
    model_key: ClassVar[str] = ""  # another key under which a model may give the value
    long_text: ClassVar[bool] = False  # a text of many lines; the only field of a job is asked in free text
    joins_windows: ClassVar[bool] = False  # the texts of several windows are joined in page order
    answers_question: ClassVar[bool] = False  # the reply to a question that came with the pages
    is_box: ClassVar[bool] = False  # the value is a box in page pixels, to be mapped to source pixels
    repeats: ClassVar[bool] = False  # the value is a list with one entry for each row
    exact_from: ClassVar[float] = 1.0  # minimal `similarity` of a right answer
    close_from: ClassVar[float] = 1.0  # and of a close one

    type: str
    required: bool = False
    labels: tuple[Text, ...] = ()
    hint: str = ""
    region: PageRegion | None = None

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Raises TypeError where a type lacks a hook. Classes without a default for `type` are abstract."""
        name = cls.model_fields["type"].default
        if not isinstance(name, str):
            return
        lacking = [hook for hook in ("type_name",) if not hasattr(cls, hook)] + sorted(cls.__abstractmethods__)
        if lacking:
            raise TypeError(f"the field type {name} ({cls.__qualname__}) lacks {', '.join(lacking)}")

    # --- structure

    @property
    def children(self) -> "Mapping[str, Field]":
        """The fields inside a group or in the rows of a list, by name; a plain list has one, called ITEM."""
        return {}

    @property
    def row_keys(self) -> frozenset[str]:
        """The keys that a row of a list may have in an answer; none where its rows are single values."""
        return frozenset()

    @property
    def list_valued(self) -> bool:
        """Whether a single value may be a list: several options, or the corners of a box."""
        return False

    # --- prompt

    def prompt_text(self) -> str:
        """The text of the field in the prompt, without its name. Nested fields follow on indented lines."""
        parts = [self.value_description()]
        if self.labels:
            parts.append("printed near " + " or ".join(f'"{label}"' for label in self.labels))
        if self.hint:
            parts.append(self.hint.strip())
        if self.region:
            parts.append(region_words(self.region))
        return "; ".join(parts) + "".join(f"\n  {line}" for line in self._inner_lines())

    def value_description(self) -> str:
        """The form of the value, for the prompt."""
        return self.type_name

    def _inner_lines(self) -> list[str]:
        return []

    def answer_schema(self) -> dict[str, Any]:
        """The JSON schema of the answer. A single value may always be null."""
        return {"type": ["string", "null"], "maxLength": PRINTED_LIMIT}

    def answer_tokens(self) -> int:
        """An upper estimate of the length of a usual answer, in tokens."""
        return 16

    @abstractmethod
    def example(self) -> Any:
        """A possible answer of an engine, in printed form."""

    # --- answer

    def coerce(self, answer: Any) -> Coerced:
        """The typed value of an answer. Never raises; an unreadable or ambiguous answer is None with a Problem."""
        if answer is None or (isinstance(answer, str) and answer.strip().casefold() in NOTHING):
            return self.nothing()
        if isinstance(answer, str) and len(answer) > self.max_chars:
            return Coerced(self.nothing().value, self.wrong(answer).problems)
        return self.parse(answer)

    def nothing(self) -> Coerced:
        """The value for a null answer."""
        return Coerced(None)

    @abstractmethod
    def parse(self, answer: Any) -> Coerced:
        """The typed value of a non-empty answer: text as printed, or a value of JSON. Never raises."""

    # --- record and table

    @abstractmethod
    def arrow(self) -> "pa.DataType":
        """The type of the table's column."""

    @property
    def file_suffix(self) -> str:
        """The suffix of the attachment with the text; "" for none."""
        return ""

    @property
    @abstractmethod
    def rule_type(self) -> RuleType | None:
        """The type of the value in rules; None where they cannot compare it."""

    # --- evidence

    @property
    @abstractmethod
    def locator(self) -> PrintSearch | LineReader | None:
        """How the value is found in the text of a page, for evidence; None where it is not searched."""

    @property
    @abstractmethod
    def finder(self) -> str | None:
        """The candidate finder of the OCR engine (models/ocr/candidates/finders).

        "lines" uses `locator`, a LineReader. None: the value is not printed, and the OCR engine does not support it.
        """

    @property
    def readable(self) -> bool:
        """Whether the value is printed, so that an OCR engine can read it."""
        return self.finder is not None

    @property
    def value_pattern(self) -> str | None:
        """A regular expression for the whole printed value, to rank candidates; None: any form."""
        return None

    # --- review

    @property
    @abstractmethod
    def widget(self) -> Widget:
        """The control of the review form."""

    def print_value(self, value: Any) -> str:
        """A value, typed or from JSON, as text that `coerce` reads back."""
        if value is None:
            return ""
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, list | tuple):
            return ", ".join(str(each) for each in value)
        if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
            value = int(value)
        return value.isoformat() if hasattr(value, "isoformat") else str(value)

    # --- evaluation

    def label_values(self, printed: Sequence[Any], typed: Sequence[Any]) -> tuple[Any, ...]:
        """The accepted values of a label with `printed` and `typed` forms; () if none can be read.

        Printed forms are used only where no typed form can be read.
        """
        read = ([self.coerce(each).value for each in given] for given in (typed, printed))
        return next((found for each in read if (found := tuple(one for one in each if one is not None))), ())

    def similarity(self, expected: Any, value: Any, tolerance: Decimal) -> float:
        """The similarity of two values, from 0 to 1. `tolerance` is the job's, for amounts."""
        return float(expected == value)

    # --- problems

    def wrong(self, answer: Any, more: str = "") -> Coerced:
        return Coerced(None, (Problem("wrong_type", f"{shown(answer)} does not read as {self.type_name}{more}"),))

    def refused(self, answer: Any, why: str) -> Coerced:
        return Coerced(None, (Problem("not_allowed", f"{shown(answer)} {why}"),))


def shown(answer: Any) -> str:
    """An answer for a message: quoted, on one line, at most 60 characters."""
    text = re.sub(r"\s+", " ", answer if isinstance(answer, str) else str(answer))
    text = text.encode("utf-8", "replace").decode()
    return f'"{text[:60]}…"' if len(text) > 60 else f'"{text}"'
