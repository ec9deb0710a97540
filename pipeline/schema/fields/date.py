"""`date`: a calendar date."""

from datetime import date, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pipeline.parsing import dates
from pipeline.schema.fields.base import Coerced, Field, LineReader, RuleType, Widget

if TYPE_CHECKING:
    import pyarrow as pa

Order = Literal["DMY", "MDY", "YMD"]
_ORDER_WORDS = {"DMY": "day before month", "MDY": "month before day", "YMD": "year, month, day"}


class DateField(Field):
    """`order` decides ambiguous dates such as 03/04/2024."""

    type_name: ClassVar[str] = "a date"

    rule_type: ClassVar[RuleType] = RuleType("date")
    finder: ClassVar[str] = "date"
    widget: ClassVar[Widget] = Widget("line")

    type: Literal["date"] = "date"
    order: Order = "DMY"

    @property
    def locator(self) -> LineReader:
        return LineReader(dates.find, (self.order,))

    def value_description(self) -> str:
        return f"a date, as printed ({_ORDER_WORDS[self.order]}) or as YYYY-MM-DD"

    def parse(self, answer: Any) -> Coerced:
        if isinstance(answer, datetime):
            return Coerced(answer.date())
        if isinstance(answer, date):
            return Coerced(answer)
        if isinstance(answer, bool | dict | list):
            return self.wrong(answer)
        text = str(answer).strip()
        value = date.fromisoformat(text) if _is_iso(text) else dates.read(text, self.order)
        return self.wrong(answer) if value is None else Coerced(value)

    def arrow(self) -> "pa.DataType":
        import pyarrow as pa

        return pa.date32()

    def example(self) -> str:
        return {"DMY": "15/06/2024", "MDY": "06/15/2024", "YMD": "2024年6月15日"}[self.order]


def _is_iso(text: str) -> bool:
    try:
        return len(text) == 10 and bool(date.fromisoformat(text))
    except ValueError:
        return False
