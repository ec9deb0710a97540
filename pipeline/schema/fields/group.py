"""`group`: nested fields, such as a supplier's name and number; and functions for all mappings of fields."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field as Key
from pydantic import field_validator

from pipeline.schema.fields import field_names
from pipeline.schema.fields.base import Coerced, Field, Problem, RuleType, Widget, shown

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.schema.fields import AnyField


class Container(Field):
    """Base of groups and lists, which have no value of their own to find, compare or edit."""

    rule_type: ClassVar[RuleType | None] = None
    locator: ClassVar[None] = None
    finder: ClassVar[str | None] = None
    widget: ClassVar[Widget] = Widget("line")

    @field_validator("fields", check_fields=False)
    @classmethod
    def _valid_names(cls, fields: dict[str, Field]) -> dict[str, Field]:
        for name, fault in field_names.faults(column_names(fields)):
            raise ValueError(f"{name}: {fault}")
        return fields


class GroupField(Container):
    """The value is always a dict with every key; missing values are None."""

    type_name: ClassVar[str] = "a group"

    type: Literal["group"] = "group"
    fields: dict[str, "AnyField"] = Key(min_length=1)

    @property
    def children(self) -> Mapping[str, Field]:
        return self.fields

    def value_description(self) -> str:
        return "an object with these keys"

    def _inner_lines(self) -> list[str]:
        return prompt_lines(self.fields)

    def answer_schema(self) -> dict[str, Any]:
        return object_schema(self.fields)

    def answer_tokens(self) -> int:
        return 4 + object_tokens(self.fields)

    def nothing(self) -> Coerced:
        return coerce_object(self.fields, {})

    def parse(self, answer: Any) -> Coerced:
        if not isinstance(answer, dict):
            return Coerced(self.nothing().value, self.wrong(answer).problems)
        return coerce_object(self.fields, answer)

    def arrow(self) -> "pa.DataType":
        return struct(self.fields)

    def example(self) -> Any:
        return {name: field.example() for name, field in self.fields.items()}


def prompt_lines(fields: Mapping[str, Field]) -> list[str]:
    return [line for name, field in fields.items() for line in f"- {name}: {field.prompt_text()}".split("\n")]


def object_schema(fields: Mapping[str, Field]) -> dict[str, Any]:
    """Every key is required, so that the model must answer null rather than omit a key."""
    return {
        "type": "object",
        "properties": {name: field.answer_schema() for name, field in fields.items()},
        "required": list(fields),
        "additionalProperties": False,
    }


def object_tokens(fields: Mapping[str, Field]) -> int:
    """As `Field.answer_tokens`, for the keys and values of an object."""
    # quotes, colon and comma, and three bytes of the name to a token
    return sum(4 + len(name.encode()) // 3 + field.answer_tokens() for name, field in fields.items())


def answer_keys(fields: Mapping[str, Field]) -> frozenset[str]:
    """The allowed keys of an answer: the fields' names and their `model_key`."""
    return frozenset(key for name, each in fields.items() for key in (name, each.model_key or name))


def coerce_object(fields: Mapping[str, Field], answer: Mapping[str, Any]) -> Coerced:
    """The typed values of an object. Unknown keys are ignored."""
    data: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, field in fields.items():
        given = _given(name, fields, answer)
        data[name], found = field.coerce(given)
        if field.companion_suffix:  # also where it could not be read
            data[name + field.companion_suffix] = None if data[name] is None and not found else shown(given)[1:-1]
        problems += [Problem(code, message, f".{name}{suffix}") for code, message, suffix in found]
    return Coerced(data, tuple(problems))


def _given(name: str, fields: Mapping[str, Field], answer: Mapping[str, Any]) -> Any:
    """The answer for a field: under its name, or the only box of an object under `model_key`."""
    key = fields[name].model_key
    if not key or name in answer or key not in answer or key in fields:
        return answer.get(name)
    if sum(each.model_key == key for each in fields.values()) > 1:
        return answer.get(name)
    return {each: answer[each] for each in (key, "page") if each in answer and each not in fields}


def column_names(fields: Mapping[str, Field]) -> Iterator[str]:
    """The columns of the fields: their names, each followed by that of its companion column."""
    for name, field in fields.items():
        yield name
        if field.companion_suffix:
            yield name + field.companion_suffix


def column_types(fields: Mapping[str, Field]) -> "Iterator[tuple[str, pa.DataType]]":
    """As `column_names`, each with the type of its column."""
    import pyarrow as pa

    for name, field in fields.items():
        yield name, field.arrow()
        if field.companion_suffix:
            yield name + field.companion_suffix, pa.string()


def struct(fields: Mapping[str, Field]) -> "pa.DataType":
    import pyarrow as pa

    return pa.struct(list(column_types(fields)))
