"""`measure`: a number with its unit, converted to the unit of the job."""

import re
from decimal import Decimal
from typing import Any, ClassVar, Literal

from pydantic import field_validator

from pipeline.parsing import Found, quantities
from pipeline.parsing.normalize import narrow
from pipeline.schema.fields.base import Coerced, LineReader, Widget
from pipeline.schema.fields.model import Text
from pipeline.schema.fields.number import FloatNumber

_NUMBER_AND_UNIT = re.compile(r"\s*([-+]?\s*[\d.,'’ ]*\d)\s*(.*?)\s*", re.DOTALL)


class MeasureField(FloatNumber):
    """With unit kPa, "1.2 MPa" is 1200. A number without a unit is in `unit`.

    The number is one column; a second one (`pressure_printed`) has the printed text.
    """

    type_name: ClassVar[str] = "a measure"
    companion_suffix: ClassVar[str] = "_printed"

    finder: ClassVar[str] = "measure"

    type: Literal["measure"] = "measure"
    unit: Text

    @field_validator("unit")
    @classmethod
    def _known(cls, unit: str) -> str:
        if quantities.unit(unit) is None:
            raise ValueError(
                f'"{unit}" is not a unit that Scanmill knows; write it as in kPa, mm, °C, kg, kWh, m**3/h, %'
            )
        return unit

    @property
    def locator(self) -> LineReader:
        return LineReader(_in_unit, (self.unit,))

    @property
    def widget(self) -> Widget:
        return Widget("number", unit=self.unit)

    def value_description(self) -> str:
        return f"a number with its unit as printed, beside it or in its heading (in {self.unit} if none is printed)"

    def _number(self, answer: Any) -> Decimal | Coerced:
        if not isinstance(answer, str):
            return super()._number(answer)
        parts = _NUMBER_AND_UNIT.fullmatch(narrow(answer))
        if parts is None:
            return self.wrong(answer)
        value = super()._number(parts[1])
        if isinstance(value, Coerced):
            return self.wrong(answer, value.problems[0].message.partition(self.type_name)[2])
        printed = parts[2]
        if not printed:
            return value
        converted = quantities.convert(value, printed, self.unit)
        if converted is None:
            if quantities.unit(printed) is None:
                return self.wrong(answer, f" that can be given in {self.unit}")
            return self.wrong(answer, f": {printed} cannot be brought to {self.unit}")
        return converted

    def example(self) -> str:
        return f"12.5 {self.unit}"


def _in_unit(line: str, unit: str) -> list[Found]:
    return [one._replace(value=float(one.value[0])) for one in quantities.find(line, unit)]
