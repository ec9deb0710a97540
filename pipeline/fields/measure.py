"""`measure`: a number with its unit, kept in the unit that the job asks for."""

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator

from pipeline.fields.field import Coerced, Text
from pipeline.fields.number import Numeric
from pipeline.values import measures

if TYPE_CHECKING:
    import pyarrow as pa

_NUMBER_AND_UNIT = re.compile(r"\s*([-+]?\s*[\d.,'’ ]*\d)\s*(.*?)\s*", re.DOTALL)


class MeasureField(Numeric):
    """ "1.2 MPa" asked in kPa is 1200. A number printed without a unit is taken to be in `unit`."""

    NOUN: ClassVar[str] = "a measure"

    type: Literal["measure"] = "measure"
    unit: Text

    @field_validator("unit")
    @classmethod
    def _known(cls, unit: str) -> str:
        if measures.unit(unit) is None:
            raise ValueError(
                f'"{unit}" is not a unit that Scanmill knows; write it as in kPa, mm, °C, kg, kWh, m**3/h, %'
            )
        return unit

    def noun(self) -> str:
        return f"a number with its unit as printed (in {self.unit} if no unit is printed)"

    def _number(self, answer: Any) -> Decimal | Coerced:
        parts = _NUMBER_AND_UNIT.fullmatch(answer) if isinstance(answer, str) else None
        value = super()._number(parts[1] if parts else answer)
        if parts is None or not parts[2]:
            return value
        if isinstance(value, Coerced):
            return self.wrong(answer, value.problems[0].message.partition(self.NOUN)[2])
        converted = measures.convert(value, parts[2], self.unit)
        return self.wrong(answer, f" that can be given in {self.unit}") if converted is None else converted

    def _kept(self, value: Decimal, answer: Any) -> Coerced:
        return Coerced(float(value))

    def arrow(self) -> "pa.DataType":
        import pyarrow as pa

        return pa.float64()

    def example(self) -> str:
        return f"12.5 {self.unit}"
