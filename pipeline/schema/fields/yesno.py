"""`yesno`: a boolean."""

import unicodedata
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field as Key
from pydantic import model_validator

from pipeline.schema.fields.base import Coerced, Field, RuleType, Widget
from pipeline.schema.fields.checkmarks import ticked
from pipeline.schema.fields.model import Text

if TYPE_CHECKING:
    import pyarrow as pa

YES = ("yes", "y", "true", "1", "ja", "oui", "sí", "si", "ya", "是", "有", "对", "✓", "✔", "√", "☑")
NO = ("no", "n", "false", "0", "nein", "non", "tidak", "否", "无", "不是", "没有", "✗", "✘", "×", "☐", "□")


class YesNoField(Field):
    """`yes` and `no` are additional printed words, such as 合格 and 不合格."""

    type_name: ClassVar[str] = "yes or no"

    rule_type: ClassVar[RuleType] = RuleType("yesno")
    locator: ClassVar[None] = None
    finder: ClassVar[str] = "yesno"
    widget: ClassVar[Widget] = Widget("choice", options=("yes", "no"))

    type: Literal["yesno"] = "yesno"
    yes: tuple[Text, ...] = Key(default=())
    no: tuple[Text, ...] = Key(default=())

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if both := {_fold(word) for word in self.yes} & {_fold(word) for word in self.no}:
            raise ValueError(f"{sorted(both)} is listed under yes and under no")
        return self

    def value_description(self) -> str:
        text = "true or false"
        if self.yes:
            text += f"; true where it says {' or '.join(self.yes)}"
        if self.no:
            text += f"; false where it says {' or '.join(self.no)}"
        return text

    def answer_schema(self) -> dict[str, Any]:
        return {"type": ["boolean", "null"]}

    def coerce(self, answer: Any) -> Coerced:
        return (
            self.parse(answer) if isinstance(answer, str) and 0 < len(answer.strip()) <= 99 else super().coerce(answer)
        )

    def parse(self, answer: Any) -> Coerced:
        if isinstance(answer, bool):
            return Coerced(answer)
        if not isinstance(answer, str):
            return self.wrong(answer)
        if (value := self._word(answer)) is not None:
            return Coerced(value)
        if (marked := ticked(answer)) is not None:
            meant = {self._word(word) if word else True for word in marked}
            if not marked and _fold(answer) in (_fold(mark) for mark in NO):
                return Coerced(False)
            if len(meant) == 1 and None not in meant:
                return Coerced(meant.pop())
        return super().coerce(None) if _fold(answer) in ("null", "n/a", "-", "—") else self.wrong(answer)

    def _word(self, word: str) -> bool | None:
        folded = _fold(word)
        own = {**dict.fromkeys(map(_fold, self.no), False), **dict.fromkeys(map(_fold, self.yes), True)}
        shared = {**dict.fromkeys(map(_fold, NO), False), **dict.fromkeys(map(_fold, YES), True)}
        return own.get(folded, shared.get(folded))

    def arrow(self) -> "pa.DataType":
        import pyarrow as pa

        return pa.bool_()

    def example(self) -> str:
        return "☑ " + self.yes[0] if self.yes else "是"


def _fold(word: str) -> str:
    return unicodedata.normalize("NFKC", word).casefold().strip(" .:")
