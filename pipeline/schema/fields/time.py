"""`time`: a time of the day, to the second."""

from datetime import time
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pipeline.parsing import Found, times
from pipeline.schema.fields.base import Coerced, Field, LineReader, RuleType, Widget

if TYPE_CHECKING:
    import pyarrow as pa


def _to_the_second(line: str) -> list[Found]:
    return [one._replace(value=one.value.replace(microsecond=0)) for one in times.find(line)]


class TimeField(Field):
    type_name: ClassVar[str] = "a time of day"

    rule_type: ClassVar[RuleType] = RuleType("time")
    locator: ClassVar[LineReader] = LineReader(_to_the_second)
    finder: ClassVar[str] = "time"
    widget: ClassVar[Widget] = Widget("line")

    type: Literal["time"] = "time"

    def value_description(self) -> str:
        return "a time of day, as printed or as HH:MM"

    def parse(self, answer: Any) -> Coerced:
        value = answer if isinstance(answer, time) else times.read(answer) if isinstance(answer, str) else None
        return self.wrong(answer) if value is None else Coerced(value.replace(microsecond=0, tzinfo=None))

    def arrow(self) -> "pa.DataType":
        import pyarrow as pa

        return pa.time32("s")

    def example(self) -> str:
        return "2:05 pm"
