"""`choice`: one or several of the options of the job."""

import re
import unicodedata
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field as Key
from pydantic import field_validator, model_validator

from pipeline.schema.fields.base import Coerced, Field, PrintSearch, Problem, RuleType, Widget
from pipeline.schema.fields.checkmarks import ticked
from pipeline.schema.fields.model import Text

if TYPE_CHECKING:
    import pyarrow as pa

_BETWEEN = re.compile(r"\s*[,;/|、，；\n]\s*")


class ChoiceField(Field):
    """`options` is a list, or a mapping from each value to the words that may be printed for it.

    With `many: true` the value is a list (perhaps empty) in the order of the options.
    """

    type_name: ClassVar[str] = "one of the options"
    max_chars: ClassVar[int] = 20_000  # for many options
    locator: ClassVar[PrintSearch] = PrintSearch(verbatim=False)
    finder: ClassVar[str] = "choice"

    type: Literal["choice"] = "choice"
    options: dict[Text, tuple[Text, ...]] = Key(min_length=1, max_length=500)
    many: bool = False

    @field_validator("options", mode="before")
    @classmethod
    def _spelled(cls, options: Any) -> Any:
        if isinstance(options, list | tuple):
            if doubles := {str(option) for option in options if options.count(option) > 1}:
                raise ValueError(f"names {', '.join(sorted(doubles))} twice")
            options = {_plain(option): () for option in options}
        if isinstance(options, dict):
            return {_plain(option): _many(words) for option, words in options.items()}
        raise ValueError("must be a list of options, or a mapping from each option to the words printed for it")

    @model_validator(mode="after")
    def _apart(self) -> Self:
        seen: dict[str, str] = {}
        for option, words in self.options.items():
            for word in (option, *words):
                if seen.setdefault(_fold(word), option) != option:
                    raise ValueError(
                        f'"{word}" means {seen[_fold(word)]} and {option}; blanks and capitals do not count'
                    )
        return self

    @property
    def list_valued(self) -> bool:
        return self.many

    @property
    def rule_type(self) -> RuleType:
        return RuleType("texts" if self.many else "text", options=tuple(self.options))

    @property
    def widget(self) -> Widget:
        return Widget("line") if self.many else Widget("choice", options=tuple(self.options))

    def value_description(self) -> str:
        listed = ", ".join(
            option + (f" (for {' or '.join(words)})" if words else "") for option, words in self.options.items()
        )
        return f"{'those that hold of' if self.many else 'one of'}: {listed}"

    def answer_schema(self) -> dict[str, Any]:
        if self.many:
            each = {"type": "string", "enum": list(self.options)}
            return {"type": "array", "items": each, "maxItems": len(self.options)}
        return {"enum": [*self.options, None]}

    def answer_tokens(self) -> int:
        return 16 * (len(self.options) if self.many else 1)

    def nothing(self) -> Coerced:
        return Coerced([] if self.many else None)

    def coerce(self, answer: Any) -> Coerced:
        if isinstance(answer, str) and (option := self._option(answer)):
            return Coerced([option] if self.many else option)  # first: "none" may be an option
        return super().coerce(answer)

    def parse(self, answer: Any) -> Coerced:
        if self.many:
            words = answer if isinstance(answer, list) else self._several(answer) if isinstance(answer, str) else None
            return self.wrong(answer) if words is None else self._all(words)
        if isinstance(answer, list) and len(answer) == 1:
            return self.coerce(answer[0])
        if isinstance(answer, bool | dict | list):
            return self.wrong(answer)
        marked = ticked(answer) if isinstance(answer, str) else None
        if marked is not None and len(marked) != 1:
            return (
                self.refused(answer, f"ticks {len(marked)} of the options, one is asked for")
                if marked
                else Coerced(None)
            )
        option = self._option(marked[0] if marked else str(answer))
        return Coerced(option) if option else self.refused(answer, f"is not one of {', '.join(self.options)}")

    def _several(self, answer: str) -> list[str]:
        marked = ticked(answer)
        return list(marked) if marked is not None else [word for word in _BETWEEN.split(answer) if word]

    def _all(self, words: list[Any]) -> Coerced:
        chosen: set[str] = set()
        problems: list[Problem] = []
        for word in words:
            if word is None:
                continue
            option = self._option(str(word)) if isinstance(word, str | int) and not isinstance(word, bool) else None
            if option is None:
                problems.extend(self.refused(word, f"is not one of {', '.join(self.options)}").problems)
            else:
                chosen.add(option)
        return Coerced([option for option in self.options if option in chosen], tuple(problems))

    def _option(self, word: str) -> str | None:
        folded = _fold(word)
        return next(
            (option for option, words in self.options.items() if folded in map(_fold, (option, *words))),
            None,
        )

    def similarity(self, expected: Any, value: Any, tolerance: Decimal) -> float:
        if isinstance(expected, list) and isinstance(value, list):
            return float(sorted(map(str, expected)) == sorted(map(str, value)))
        return super().similarity(expected, value, tolerance)

    def arrow(self) -> "pa.DataType":
        import pyarrow as pa

        return pa.list_(pa.string()) if self.many else pa.string()

    def example(self) -> Any:
        first = next(iter(self.options))
        return [first] if self.many else first


def _plain(option: Any) -> Any:
    """Numbers as text: YAML reads 1 as a number. The key's type rejects true, null and nested values."""
    return str(option) if isinstance(option, int) and not isinstance(option, bool) else option


def _many(words: Any) -> Any:
    if words is None:
        return ()
    return tuple(_plain(word) for word in words) if isinstance(words, list | tuple) else (_plain(words),)


def _fold(word: str) -> str:
    return re.sub(r"\s+", "", unicodedata.normalize("NFKC", word)).casefold()
