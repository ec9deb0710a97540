"""`list`: rows of fields, such as the lines of an invoice, or several plain values."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Optional, Self

from pydantic import Field as Key
from pydantic import model_validator

from pipeline.schema.fields.base import ITEM, NOTHING, Coerced, Field, Problem
from pipeline.schema.fields.group import (
    Container,
    answer_keys,
    coerce_object,
    object_schema,
    object_tokens,
    prompt_lines,
    struct,
)
from pipeline.schema.fields.nested import leaves

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.schema.fields import AnyField

ROWS_EXPECTED = 30  # on one window of pages; a longer list takes the job's max_new_tokens
_NO_ENTRY = NOTHING | {"没有", "keine", "aucun", "aucune", "ninguno", "nessuno"}


class ListField(Container):
    """`fields` makes rows with columns, `item` a plain list. `max_items` limits one answer (one window of pages).

    An engine may give one entry more (`answer_items`). It is dropped, and shows that the list was cut.
    """

    type_name: ClassVar[str] = "a list"
    repeats: ClassVar[bool] = True

    type: Literal["list"] = "list"
    fields: dict[str, "AnyField"] = Key(default_factory=dict)
    item: Optional["AnyField"] = None
    max_items: int = Key(default=100, ge=1, le=5000)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if bool(self.fields) == (self.item is not None):
            raise ValueError("a list has either fields (rows with columns) or item (plain values)")
        if self.item is not None and self.item.children:
            raise ValueError(f"item is one single value, not a {self.item.type}; give the list fields instead")
        if self.item is not None and self.item.companion_suffix:
            rows = f"fields: {{value: {{type: {self.item.type}, …}}}}"
            raise ValueError(f"a plain list has no place for how a {self.item.type} is printed; give it {rows}")
        if inner := [name for name, field in self.fields.items() if _holds_list({name: field})]:
            raise ValueError(f"a list inside the rows of a list is too deep for a table: {', '.join(inner)}")
        return self

    @property
    def children(self) -> Mapping[str, Field]:
        return self.fields if self.item is None else {ITEM: self.item}

    @property
    def answer_items(self) -> int:
        return self.max_items + 1

    @property
    def row_keys(self) -> frozenset[str]:
        return answer_keys(self.fields)

    def value_description(self) -> str:
        return "a list" if self.item else "a list of rows; each row is an object with these keys"

    def prompt_text(self) -> str:
        return (
            super().prompt_text()
            if self.item is None
            else f"{super().prompt_text()}; each of them is {self.item.prompt_text()}"
        )

    def _inner_lines(self) -> list[str]:
        return prompt_lines(self.fields)

    def answer_schema(self) -> dict[str, Any]:
        each = self.item.answer_schema() if self.item else object_schema(self.fields)
        return {"type": "array", "items": each, "maxItems": self.answer_items}

    def answer_tokens(self) -> int:
        row = self.item.answer_tokens() if self.item else object_tokens(self.fields)
        return 4 + min(ROWS_EXPECTED, self.max_items) * (4 + row)

    def nothing(self) -> Coerced:
        return Coerced([])

    def parse(self, answer: Any) -> Coerced:
        if not isinstance(answer, list):
            return Coerced([], self.wrong(answer).problems)
        rows: list[Any] = []
        problems: list[Problem] = []
        for index, row in enumerate(answer):
            value, found = self._row(row)
            rows.append(value)
            problems += [Problem(code, message, f"[{index}]{suffix}") for code, message, suffix in found]
        return Coerced(rows, tuple(problems))

    def _row(self, row: Any) -> Coerced:
        if self.item:
            return Coerced(None) if self._says_none(row) else self.item.coerce(row)
        if row is None or isinstance(row, dict):
            return coerce_object(self.fields, row or {})
        return Coerced(coerce_object(self.fields, {}).value, self.wrong(row, "'s row").problems)

    def _says_none(self, row: Any) -> bool:
        """Whether a row says that there are no entries, as in "异常项: 无"."""
        texts = self.item is not None and self.item.type in ("text", "prose")
        return texts and isinstance(row, str) and row.strip().rstrip(".。").casefold() in _NO_ENTRY

    def arrow(self) -> "pa.DataType":
        import pyarrow as pa

        return pa.list_(self.item.arrow() if self.item else struct(self.fields))

    def example(self) -> Any:
        return [self.item.example() if self.item else {name: field.example() for name, field in self.fields.items()}]


def _holds_list(fields: Mapping[str, Field]) -> bool:
    return any(field.repeats for _, field in leaves(fields, whole_lists=True))
