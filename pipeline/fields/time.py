"""`time`: a time of the day, to the second."""

from datetime import time
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pipeline.fields.field import Coerced, Field
from pipeline.values import times

if TYPE_CHECKING:
    import pyarrow as pa


class TimeField(Field):
    type_name: ClassVar[str] = "a time of day"

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
