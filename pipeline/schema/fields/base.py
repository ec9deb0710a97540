"""What every field type says of itself: the keys a person may write, and the hooks that the stages ask.

A stage never asks which type a field is. It asks a hook, so a new type is one class. The abstract hooks have no safe
default: a class that lacks one of them fails where it is defined. docs/extending.md shows a whole type.
"""

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, model_validator
from pydantic import Field as Key

from pipeline.core.geometry import Region
from pipeline.parsing import Found

if TYPE_CHECKING:
    import pyarrow as pa

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
Fraction = Annotated[float, Key(ge=0, le=1)]
PRINTED_LIMIT = 80  # characters that a printed number, date or measure may take in an answer
ITEM = ""  # the name of the one column of a plain list

# What people and engines write where nothing is: never a value of a typed field.
NOTHING = frozenset({"", "null", "none", "nil", "n/a", "n.a.", "-", "--", "---", "–", "—", "/", "无", "不详", "未填"})


class Problem(NamedTuple):
    """One thing wrong with an answer. `path_suffix` leads from the field down: "", ".name", "[0].amount"."""

    code: str
    message: str
    path_suffix: str = ""


class Coerced(NamedTuple):
    """A typed value, or None (for groups a dict, for lists a list), and what was wrong on the way."""

    value: Any
    problems: tuple[Problem, ...] = ()


class RuleType(NamedTuple):
    """What a rule may do with a value. `money` is compared within the job's tolerance.

    `options` are the only texts that the value can be; none: any text.
    """

    kind: Literal["number", "date", "time", "text", "yesno", "texts"]
    money: bool = False
    options: tuple[str, ...] = ()


class Widget(NamedTuple):
    """The control of the review form: its kind, the options of a choice, the unit that stands behind a number."""

    kind: Literal["line", "number", "long", "choice", "box"]
    options: tuple[str, ...] = ()
    unit: str = ""


class PrintSearch(NamedTuple):
    """Evidence for texts: the place where the letters and digits of the value are printed.

    `verbatim`: the value is nothing but print, so one that is not on the page is reported as `unseen`.
    """

    verbatim: bool


class LineReader(NamedTuple):
    """Reads all values of a type in one printed line: `find(line, *arguments)`.

    Evidence is where an equal value is read. Two fields with equal readers share the work.
    """

    find: Callable[..., Sequence[Found]]
    arguments: tuple[Any, ...] = ()

    def read(self, line: str) -> Sequence[Found]:
        return self.find(line, *self.arguments)


class Closed(BaseModel):
    """Frozen, and every unknown key is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _RegionKeys(Closed):
    model_config = ConfigDict(extra="forbid", frozen=True, from_attributes=True)

    left: Fraction
    top: Fraction
    width: Annotated[float, Key(gt=0, le=1)]
    height: Annotated[float, Key(gt=0, le=1)]

    @model_validator(mode="after")
    def _inside(self) -> Self:
        if self.left + self.width > 1 + 1e-9 or self.top + self.height > 1 + 1e-9:
            raise ValueError("the region leaves the page: left + width and top + height may be at most 1")
        return self


if TYPE_CHECKING:
    PageRegion = Region
else:
    PageRegion = Annotated[_RegionKeys, AfterValidator(lambda keys: Region(**dict(keys)))]


def region_words(region: Region) -> str:
    """Where to look, for the prompt."""
    edges = (region.left, region.left + region.width, region.top, region.top + region.height)
    left, right, top, bottom = (round(100 * edge) for edge in edges)
    return f"stands between {left}% and {right}% of the page's width, and {top}% and {bottom}% of its height"


class Field(Closed):
    """One thing to read off a page. Each type is a subclass in a file of its own, with a default for `type`."""

    type_name: ClassVar[str]  # what messages call a value: "a date". Every type gives it.
    max_chars: ClassVar[int] = 300  # nothing longer is parsed, so that no answer can cost more than a moment
    companion_suffix: ClassVar[str] = ""  # of a second column, which keeps how the value is printed
    model_key: ClassVar[str] = ""  # a key of its own under which a model may give the value
    long_text: ClassVar[bool] = False  # a text of many lines: asked in free text where it is the only field
    joins_windows: ClassVar[bool] = False  # the texts of several windows are one text, in the order of the pages
    answers_question: ClassVar[bool] = False  # the whole reply to a question that came with the pages
    is_box: ClassVar[bool] = False  # the value is a place in page pixels, which is mapped to source pixels
    repeats: ClassVar[bool] = False  # the value is a list with one entry for each row
    exact_from: ClassVar[float] = 1.0  # `similarity` from which an answer is right
    close_from: ClassVar[float] = 1.0  # and from which it counts as close

    type: str
    required: bool = False
    labels: tuple[Text, ...] = ()
    hint: str = ""
    region: PageRegion | None = None

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Raises TypeError where a type lacks a hook. A class without a default for `type` is a base of types."""
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
        """Whether one value may be written as a list: several options, or the corners of a box."""
        return False

    # --- the question

    def prompt_text(self) -> str:
        """What the prompt says about the field, without its name. Nested fields follow on indented lines."""
        said = [self.value_description()]
        if self.labels:
            said.append("printed near " + " or ".join(f'"{label}"' for label in self.labels))
        if self.hint:
            said.append(self.hint.strip())
        if self.region:
            said.append(region_words(self.region))
        return "; ".join(said) + "".join(f"\n  {line}" for line in self._inner_lines())

    def value_description(self) -> str:
        """How the value is to be given, for the prompt."""
        return self.type_name

    def _inner_lines(self) -> list[str]:
        return []

    def answer_schema(self) -> dict[str, Any]:
        """The JSON schema of the answer; null is always allowed where a single value stands."""
        return {"type": ["string", "null"], "maxLength": PRINTED_LIMIT}

    def answer_tokens(self) -> int:
        """An upper estimate of the length of an ordinary answer, in tokens."""
        return 16

    @abstractmethod
    def example(self) -> Any:
        """An answer as an engine might give it, in printed form."""

    # --- the answer

    def coerce(self, answer: Any) -> Coerced:
        """The typed value of an answer. Never raises; what does not read in one way is None with a Problem."""
        if answer is None or (isinstance(answer, str) and answer.strip().casefold() in NOTHING):
            return self.nothing()
        if isinstance(answer, str) and len(answer) > self.max_chars:
            return Coerced(self.nothing().value, self.wrong(answer).problems)
        return self.parse(answer)

    def nothing(self) -> Coerced:
        """What stands in the data where the answer is null."""
        return Coerced(None)

    @abstractmethod
    def parse(self, answer: Any) -> Coerced:
        """The typed value of an answer that says something: text as printed, or a value of JSON. Never raises."""

    # --- the record and its table

    @abstractmethod
    def arrow(self) -> "pa.DataType":
        """The type of the table's column."""

    @property
    def file_suffix(self) -> str:
        """The suffix of the file that the text is written to as well; "" where it is not."""
        return ""

    @property
    @abstractmethod
    def rule_type(self) -> RuleType | None:
        """What rules take the value for; None where they cannot compare it."""

    # --- the place on the page

    @property
    @abstractmethod
    def locator(self) -> PrintSearch | LineReader | None:
        """How the value is found in the text of a page, for evidence; None where it is not looked for."""

    @property
    @abstractmethod
    def finder(self) -> str | None:
        """The family of candidates by which an engine that only reads finds the value (models/ocr/finders).

        "lines" takes what `locator`, a LineReader, reads. None: the value is not printed, such an engine refuses it.
        """

    @property
    def readable(self) -> bool:
        """Whether it is printed, so that an engine can answer it that only reads and does not look."""
        return self.finder is not None

    @property
    def value_pattern(self) -> str | None:
        """A regular expression for the whole printed value, which speaks for candidates; None: any form."""
        return None

    # --- people

    @property
    @abstractmethod
    def widget(self) -> Widget:
        """The control of the review form."""

    def print_value(self, value: Any) -> str:
        """A value, typed or as JSON has it, as a person may write it and `coerce` reads it back."""
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
        """The values of which each is right, for a label that gives `printed` forms and `typed` ones; () if none reads.

        Typed forms count alone where one of them reads.
        """
        read = ([self.coerce(each).value for each in given] for given in (typed, printed))
        return next((found for each in read if (found := tuple(one for one in each if one is not None))), ())

    def similarity(self, expected: Any, value: Any, tolerance: Decimal) -> float:
        """How like two values are, from 0 to 1. `tolerance` is the job's, for amounts."""
        return float(expected == value)

    # --- what the subclasses say when an answer does not fit

    def wrong(self, answer: Any, more: str = "") -> Coerced:
        return Coerced(None, (Problem("wrong_type", f"{shown(answer)} does not read as {self.type_name}{more}"),))

    def refused(self, answer: Any, why: str) -> Coerced:
        return Coerced(None, (Problem("not_allowed", f"{shown(answer)} {why}"),))


def shown(answer: Any) -> str:
    """An answer for a message: quoted, on one line, cut to what a person wants to see."""
    text = re.sub(r"\s+", " ", answer if isinstance(answer, str) else str(answer))
    text = text.encode("utf-8", "replace").decode()
    return f'"{text[:60]}…"' if len(text) > 60 else f'"{text}"'
