"""`integer`, `number` and `money`: parsed alike, stored as int, float and Decimal."""

import re
import unicodedata
from abc import abstractmethod
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation, localcontext
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field as Key
from pydantic import model_validator

from pipeline.parsing import Found, numbers
from pipeline.schema.fields.base import Coerced, Field, LineReader, RuleType, Widget

if TYPE_CHECKING:
    import pyarrow as pa

MONEY_DIGITS = 18  # decimal128(18, n): the widest that DuckDB and pandas store in 64 bits
_TWO_WAYS = re.compile(r"(?<![\d.,])[1-9]\d{0,2}[.,]\d{3}(?![\d.,])")


class Numeric(Field):
    """Base of numbers: the allowed range, and the decimal sign where the job has it."""

    rule_type: ClassVar[RuleType] = RuleType("number")

    minimum: Decimal | None = None
    maximum: Decimal | None = None
    decimal: Literal[",", "."] | None = None

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum ({self.minimum}) is more than maximum ({self.maximum})")
        return self

    @property
    def locator(self) -> LineReader:
        return LineReader(numbers.find, (self.decimal,))

    @property
    def widget(self) -> Widget:
        return Widget("number")

    def print_value(self, value: Any) -> str:
        text = super().print_value(value)
        return text.replace(".", ",") if self.decimal == "," and not isinstance(value, str) else text

    def label_values(self, printed: Sequence[Any], typed: Sequence[Any]) -> tuple[Any, ...]:
        """Ignores the range: a label outside of it is still right."""
        return super(Numeric, self.model_copy(update={"minimum": None, "maximum": None})).label_values(printed, typed)

    def places(self) -> int | None:
        """The allowed number of decimals; None for any."""
        return None

    def parse(self, answer: Any) -> Coerced:
        value = self._number(answer)
        if isinstance(value, Coerced):
            return value
        places = self.places()
        if places is not None and value != _rounded(value, places):
            return self.refused(answer, "is not a whole number" if places == 0 else f"has more than {places} decimals")
        if self.minimum is not None and value < self.minimum:
            return self.refused(answer, f"is less than {self.minimum} (minimum)")
        if self.maximum is not None and value > self.maximum:
            return self.refused(answer, f"is more than {self.maximum} (maximum)")
        return self.store_value(value, answer)

    def _number(self, answer: Any) -> Decimal | Coerced:
        """The number in the answer, or a problem: not a number, ambiguous, not finite or of absurd size."""
        if isinstance(answer, bool | dict | list):
            return self.wrong(answer)
        if isinstance(answer, str):
            value = numbers.read(answer, self.decimal)
            if value is not None and self._is_ambiguous(answer):
                return self.wrong(answer, ' in one way only; say decimal: "," or "." in the job')
        else:
            try:
                value = Decimal(str(answer))
            except InvalidOperation:
                value = None
        if value is None or not value.is_finite():
            return self.wrong(answer)
        if value and not -30 <= value.adjusted() <= 30:
            return self.refused(answer, "is too large or too small to be a printed number")
        return value

    def _is_ambiguous(self, answer: str) -> bool:
        """Whether a number is ambiguous: three digits after one sign, in a field that allows three decimals."""
        room = self.places()
        several = self.decimal is None and (room is None or room > 2)
        return several and bool(_TWO_WAYS.search(unicodedata.normalize("NFKC", answer)))

    def spelled(self, value: Decimal, printed: str = "") -> str:
        """A number as an unambiguous answer; the printed text where it is ambiguous.

        For engines that find numbers in OCR text. An empty `printed`: the value is certain.
        """
        if self._is_ambiguous(printed):
            return printed
        text = format(value, "f")
        text += "0" if len(text.partition(".")[2]) == 3 else ""
        return text.replace(".", self.decimal or ".")

    @abstractmethod
    def store_value(self, value: Decimal, answer: Any) -> Coerced:
        """The value in the type of its column."""


def _rounded(value: Decimal, places: int) -> Decimal:
    with localcontext() as context:
        context.prec = 60  # more digits than `_number` accepts
        return round(value, places)


def _floats(line: str, decimal: str | None) -> list[Found]:
    return [one._replace(value=float(one.value)) for one in numbers.find(line, decimal)]


class FloatNumber(Numeric):
    """Base of numbers that are stored as float."""

    def store_value(self, value: Decimal, answer: Any) -> Coerced:
        return Coerced(float(value))

    def arrow(self) -> "pa.DataType":
        import pyarrow as pa

        return pa.float64()


class IntegerField(Numeric):
    type_name: ClassVar[str] = "a whole number"
    finder: ClassVar[str] = "integer"

    type: Literal["integer"] = "integer"

    def places(self) -> int:
        return 0

    def answer_schema(self) -> dict[str, Any]:
        return {"type": ["integer", "null"], "minimum": -(10**15), "maximum": 10**15}

    def store_value(self, value: Decimal, answer: Any) -> Coerced:
        if abs(value) >= 2**63:
            return self.refused(answer, "is too large for a whole number")
        return Coerced(int(value))

    def arrow(self) -> "pa.DataType":
        import pyarrow as pa

        return pa.int64()

    def example(self) -> str:
        return "1,200"


class NumberField(FloatNumber):
    type_name: ClassVar[str] = "a number"
    finder: ClassVar[str] = "number"

    type: Literal["number"] = "number"
    decimals: int | None = Key(default=None, ge=0, le=12)

    @property
    def locator(self) -> LineReader:
        return LineReader(_floats, (self.decimal,))

    def places(self) -> int | None:
        return self.decimals

    def value_description(self) -> str:
        return "a number, as printed"

    def example(self) -> str:
        return "12,5" if self.decimal == "," else "12.5"


class MoneyField(Numeric):
    type_name: ClassVar[str] = "an amount of money"
    rule_type: ClassVar[RuleType] = RuleType("number", money=True)
    finder: ClassVar[str] = "money"

    type: Literal["money"] = "money"
    decimals: int = Key(default=2, ge=0, le=6)

    def places(self) -> int:
        return self.decimals

    def value_description(self) -> str:
        return "an amount of money, as printed"

    def store_value(self, value: Decimal, answer: Any) -> Coerced:
        if abs(value) >= Decimal(10) ** (MONEY_DIGITS - self.decimals):
            return self.refused(answer, "is too large for an amount")
        return Coerced(_rounded(value, self.decimals) + Decimal(0))  # + 0 turns -0.00 into 0.00

    def similarity(self, expected: Any, value: Any, tolerance: Decimal) -> float:
        if isinstance(expected, Decimal) and isinstance(value, Decimal):
            return float(abs(expected - value) <= tolerance)
        return super().similarity(expected, value, tolerance)

    def arrow(self) -> "pa.DataType":
        import pyarrow as pa

        return pa.decimal128(MONEY_DIGITS, self.decimals)

    def example(self) -> str:
        printed = f"{Decimal('1234.5'):,.{self.decimals}f}"
        return printed.translate(str.maketrans(",.", ".,")) + " €" if self.decimal == "," else printed
