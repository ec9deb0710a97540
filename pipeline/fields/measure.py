"""`measure`: a number with its unit, kept in the unit that the job asks for."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator

from pipeline.fields.field import Coerced, Text
from pipeline.fields.number import Numeric

if TYPE_CHECKING:
    import pyarrow as pa


class MeasureField(Numeric):
    """ "1.2 MPa" asked in kPa is 1200. A number printed without a unit is taken to be in `unit`."""

    NOUN: ClassVar[str] = "a measure"

    type: Literal["measure"] = "measure"
    unit: Text

    @field_validator("unit")
    @classmethod
    def _known(cls, unit: str) -> str:
        from pipeline.values import measures

        if measures.read(f"1 {unit}", unit) is None:
            raise ValueError(f'"{unit}" is not a unit that Scanmill knows; write it as in kPa, mm, °C, kg, kWh, m³/h, %')
        return unit

    def noun(self) -> str:
        return f"a number with its unit as printed (in {self.unit} if no unit is printed)"

    def _number(self, answer: Any) -> Decimal | Coerced:
        from pipeline.values import measures

        if isinstance(answer, str) and (found := measures.read(answer, self.unit)) is not None:
            answer = found[0]
        return super()._number(answer)

    def _kept(self, value: Decimal, answer: Any) -> Coerced:
        return Coerced(float(value))

    def arrow(self) -> "pa.DataType":
        import pyarrow as pa

        return pa.float64()

    def example(self) -> str:
        return f"12.5 {self.unit}"
