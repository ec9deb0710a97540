"""What every field type has in common: the keys a person may write, and the four ways in which a field is read."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, model_validator
from pydantic import Field as Key

from pipeline.geometry import Region

if TYPE_CHECKING:
    import pyarrow as pa

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
Fraction = Annotated[float, Key(ge=0, le=1)]
PRINTED_LIMIT = 80  # characters that a printed number, date or measure may take in an answer

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
    """One thing to read off a page. Subclasses give a type; each lives in a file of its own."""

    type_name: ClassVar[str] = "value"  # what the prompt and the messages call it
    max_chars: ClassVar[int] = 300  # characters; nothing longer is read, so that no answer can cost more than a moment
    long_text: ClassVar[bool] = False  # a text of many lines: asked in free text where it is the only field
    companion_suffix: ClassVar[str] = ""  # the suffix of a second column, which keeps how the value is printed

    type: str
    required: bool = False
    labels: tuple[Text, ...] = ()
    hint: str = ""
    region: PageRegion | None = None

    @property
    def readable(self) -> bool:
        """Whether it is printed, so that an engine can answer it that only reads and does not look."""
        return True

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
        return self.type_name

    def _inner_lines(self) -> list[str]:
        return []

    def answer_schema(self) -> dict[str, Any]:
        """The JSON schema of the answer; null is always allowed where a single value stands."""
        return {"type": ["string", "null"], "maxLength": PRINTED_LIMIT}

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

    def parse(self, answer: Any) -> Coerced:
        raise TypeError(f"{type(self).__name__} does not say how to read an answer")

    def missing(self, value: Any) -> Iterator[str]:
        """The path suffixes of required values that are not there, the field's own first."""
        if self.required and value is None:
            yield ""

    def leaves(self) -> "Iterator[tuple[str, Field]]":
        """The suffixes and fields of the single values inside: "" for a leaf, ".name" below a group or list."""
        yield "", self

    def values(self, value: Any) -> "Iterator[tuple[str, Field, Any]]":
        """As `leaves`, for the values that are really there: rows are counted, so ".amount" becomes "[0].amount"."""
        yield "", self, value

    def arrow(self) -> "pa.DataType":
        """The type of the table's column."""
        raise TypeError(f"{type(self).__name__} does not say how it is stored")

    def example(self) -> Any:
        """An answer as an engine might give it, in printed form."""
        raise TypeError(f"{type(self).__name__} gives no example")

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
