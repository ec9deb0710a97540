"""`list`: rows of fields, such as the lines of an invoice, or several values of one kind."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Optional, Self

from pydantic import Field as Key
from pydantic import field_validator, model_validator

from pipeline.fields import names
from pipeline.fields.field import NOTHING, Coerced, Field, Problem
from pipeline.fields.group import (
    answer_keys,
    coerce_object,
    column_names,
    inner_words,
    is_empty,
    missing_inside,
    object_schema,
    struct,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.fields import AnyField

_NO_ENTRY = NOTHING | {"没有", "keine", "aucun", "aucune", "ninguno", "nessuno"}


class ListField(Field):
    """`fields` gives rows with columns, `item` a plain list. `max_items` bounds one answer (one window of pages).

    An engine may give one entry more, `answer_items`: that one is not kept, and shows that the list was cut.
    """

    NOUN: ClassVar[str] = "a list"

    type: Literal["list"] = "list"
    fields: dict[str, "AnyField"] = Key(default_factory=dict)
    item: Optional["AnyField"] = None
    max_items: int = Key(default=100, ge=1, le=5000)

    @field_validator("fields")
    @classmethod
    def _named(cls, fields: dict[str, Field]) -> dict[str, Field]:
        for name, fault in names.faults(column_names(fields)):
            raise ValueError(f"{name}: {fault}")
        return fields

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if bool(self.fields) == (self.item is not None):
            raise ValueError("a list has either fields (rows with columns) or item (plain values)")
        if self.item is not None and self.item.type in ("list", "group"):
            raise ValueError(f"item is one single value, not a {self.item.type}; give the list fields instead")
        if self.item is not None and self.item.BESIDE:
            rows = f"fields: {{value: {{type: {self.item.type}, …}}}}"
            raise ValueError(f"a plain list has no place for how a {self.item.type} is printed; give it {rows}")
        if inner := [name for name, field in self.fields.items() if holds_list(field)]:
            raise ValueError(f"a list inside the rows of a list is too deep for a table: {', '.join(inner)}")
        return self

    @property
    def answer_items(self) -> int:
        return self.max_items + 1

    @property
    def row_keys(self) -> frozenset[str]:
        """The keys that a row may have in an answer; none for a plain list."""
        return answer_keys(self.fields)

    def noun(self) -> str:
        return "a list" if self.item else "a list of rows; each row is an object with these keys"

    def words(self) -> str:
        return super().words() if self.item is None else f"{super().words()}; each of them is {self.item.words()}"

    def _inner_words(self) -> list[str]:
        return inner_words(self.fields)

    def _schema(self) -> dict[str, Any]:
        each = self.item.schema() if self.item else object_schema(self.fields)
        return {"type": "array", "items": each, "maxItems": self.answer_items}

    def nothing(self) -> Coerced:
        return Coerced([])

    def _typed(self, answer: Any) -> Coerced:
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
        """ "异常项: 无": a text by itself may be that word, but a list that has nothing in it has no entry."""
        texts = self.item is not None and self.item.type in ("text", "prose")
        return texts and isinstance(row, str) and row.strip().rstrip(".。").casefold() in _NO_ENTRY

    def missing(self, value: Any) -> Iterator[str]:
        if self.required and is_empty(value):
            yield ""
        for index, row in enumerate(value or ()):
            inside = self.item.missing(row) if self.item else missing_inside(self.fields, row)
            for suffix in inside:
                yield f"[{index}]{suffix}"

    def leaves(self) -> Iterator[tuple[str, Field]]:
        if self.item:
            yield "", self.item
        for name, field in self.fields.items():
            for suffix, leaf in field.leaves():
                yield f".{name}{suffix}", leaf

    def values(self, value: Any) -> Iterator[tuple[str, Field, Any]]:
        for index, row in enumerate(value or ()):
            if self.item:
                yield f"[{index}]", self.item, row
            for name, field in self.fields.items():
                for suffix, leaf, each in field.values(row.get(name)):
                    yield f"[{index}].{name}{suffix}", leaf, each

    def arrow(self) -> "pa.DataType":
        import pyarrow as pa

        return pa.list_(self.item.arrow() if self.item else struct(self.fields))

    def example(self) -> Any:
        return [self.item.example() if self.item else {name: field.example() for name, field in self.fields.items()}]


def holds_list(field: Field) -> bool:
    inner = getattr(field, "fields", {})
    return field.type == "list" or any(holds_list(each) for each in inner.values())
