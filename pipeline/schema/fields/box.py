"""`box`: the place of something on the page, for vision engines."""

import re
import unicodedata
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pipeline.schema.fields.base import Coerced, Field, Problem, RuleType, Widget, shown
from pipeline.schema.fields.similarity import CLOSE_BOX, SAME_BOX, overlap

if TYPE_CHECKING:
    import pyarrow as pa

FARTHEST_PX = 100_000  # no picture is so large
_NUMBER = re.compile(r"[-+]?[0-9]{1,9}(?:\.[0-9]{1,9})?")
_FOUR = re.compile(r"\s*\[{0,2}([^\[\]]{3,100}?)\]{0,2}\s*")
_CORNERS = (("x1", "y1", "x2", "y2"), ("left", "top", "right", "bottom"))
_SIDES = (("x", "y", "width", "height"), ("left", "top", "width", "height"))


class BoxField(Field):
    """The value is a dict of page, x, y, width and height.

    `coerce` gives pixels of the picture that the engine saw, and `page` only where the answer names one.
    extraction/box_mapping.py maps them to source pixels.
    """

    type_name: ClassVar[str] = "a box"
    model_key: ClassVar[str] = "bbox_2d"  # the key of Qwen2.5-VL, also next to other values of a row

    is_box: ClassVar[bool] = True
    exact_from: ClassVar[float] = SAME_BOX
    close_from: ClassVar[float] = CLOSE_BOX
    rule_type: ClassVar[RuleType | None] = None
    locator: ClassVar[None] = None
    finder: ClassVar[str | None] = None
    widget: ClassVar[Widget] = Widget("box")

    type: Literal["box"] = "box"

    @property
    def list_valued(self) -> bool:
        return True

    def value_description(self) -> str:
        return (
            'the box around it, as {"bbox_2d": [x1, y1, x2, y2], "page": number}: left, top, right and bottom in '
            "pixels of the picture"
        )

    def answer_schema(self) -> dict[str, Any]:
        side = {"type": "integer", "minimum": 0, "maximum": FARTHEST_PX}
        return {
            "type": ["object", "null"],
            "properties": {
                "bbox_2d": {"type": "array", "items": side, "minItems": 4, "maxItems": 4},
                "page": {"type": "integer", "minimum": 1, "maximum": 1_000_000},
            },
            "required": ["bbox_2d", "page"],
            "additionalProperties": False,
        }

    def answer_tokens(self) -> int:
        return 40

    def parse(self, answer: Any) -> Coerced:
        page = None
        given = answer
        for _ in range(4):  # {"bbox_2d": [[1, 2, 3, 4]]}
            if isinstance(given, Mapping) and "page" in given:
                number = _number(given["page"])
                page = int(number) if number is not None and number == int(number) and number >= 1 else page
            if isinstance(given, Mapping) and self.model_key in given:
                given = given[self.model_key]
            elif isinstance(given, list) and len(given) == 1:
                given = given[0]
            else:
                break
        if given is None:
            return Coerced(None)
        corners = _corners(given)
        if corners is None:
            return _bad(f"{shown(answer)} does not read as a box of four numbers")
        x1, y1, x2, y2 = corners
        if x1 > x2 or y1 > y2:
            return _bad(f"the box from {x1:g}, {y1:g} to {x2:g}, {y2:g} is inverted")
        if x2 - x1 < 1 or y2 - y1 < 1:  # such as in fractions of the page
            return _bad(f"the box from {x1:g}, {y1:g} to {x2:g}, {y2:g} is less than a pixel")
        return Coerced({"page": page, "x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1})

    def arrow(self) -> "pa.DataType":
        import pyarrow as pa

        sides = [(side, pa.float64()) for side in ("x", "y", "width", "height")]
        return pa.struct([("page", pa.int32()), *sides])

    def print_value(self, value: Any) -> str:
        """The format that review.js uses for a new box."""
        if not isinstance(value, Mapping):
            return super().print_value(value)
        x, y, width, height = (round(value[side]) for side in ("x", "y", "width", "height"))
        return f"page {value['page']}: {x}, {y}, {width} × {height}"

    def similarity(self, expected: Any, value: Any, tolerance: Decimal) -> float:
        return overlap(expected, value)

    def example(self) -> dict[str, Any]:
        return {"bbox_2d": [120, 80, 310, 140], "page": 1}


def _corners(given: Any) -> tuple[float, float, float, float] | None:
    """Left, top, right and bottom."""
    if isinstance(given, str) and (inside := _FOUR.fullmatch(unicodedata.normalize("NFKC", given))):
        given = [part for part in re.split(r"\s*[,;\s]\s*", inside[1].strip()) if part]
    if isinstance(given, Mapping):
        for names in _CORNERS:
            if all(name in given for name in names):
                return _floats([given[name] for name in names])
        for names in _SIDES:
            if all(name in given for name in names):
                sides = _floats([given[name] for name in names])
                return sides and (sides[0], sides[1], sides[0] + sides[2], sides[1] + sides[3])
        return None
    return _floats(given) if isinstance(given, list | tuple) and len(given) == 4 else None


def _floats(given: list[Any] | tuple[Any, ...]) -> tuple[float, float, float, float] | None:
    numbers = [_number(each) for each in given]
    if any(number is None for number in numbers):
        return None
    one, two, three, four = (float(number) for number in numbers if number is not None)
    return one, two, three, four


def _number(given: Any) -> Decimal | None:
    if isinstance(given, str):
        text = unicodedata.normalize("NFKC", given).strip()
        given = Decimal(text) if _NUMBER.fullmatch(text) else None
    if isinstance(given, bool) or not isinstance(given, int | float | Decimal):
        return None
    number = given if isinstance(given, Decimal) else Decimal(str(given))
    return number if number.is_finite() and abs(number) <= FARTHEST_PX * 10 else None


def _bad(why: str) -> Coerced:
    return Coerced(None, (Problem("bad_box", why),))
