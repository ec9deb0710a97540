"""Parse YAML with the line of every key, and turn syntax and validation errors into faults with their lines.

Scalars follow YAML 1.2: only true and false are booleans (so `no: [No]` is a key with text), dates, times and 007 stay
text, and 0.02 is an exact Decimal.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pipeline.core.errors import ConfigError, Fault
from pipeline.core.suggest import unknown
from pipeline.system import filesystem

LIMIT_BYTES = 1 << 20
LIMIT_VALUES = 20_000  # with aliases expanded: ten lines of YAML can otherwise mean a billion values
LIMIT_DEPTH = 40
Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Source:
    """The data of a file, and the line (from 1) of each place in it, such as ("fields", "total", "labels", 0)."""

    file: str
    data: dict[str, Any]
    lines: Mapping[Place, int]

    def line(self, place: Place) -> int | None:
        """The line of the place, or of its nearest parent."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place)

    def fault(self, place: Place, message: str) -> Fault:
        return Fault(self.file, self.line(place), path_text(place), message)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}  # noqa: RUF012 - add_implicit_resolver fills it


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?(0|[1-9][0-9]*)?\.[0-9]+([eE][-+]?[0-9]{1,3})?", list("-+.0123456789")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def read(path: Path, *, may_be_empty: bool = False) -> Source:
    """Parse the mapping in the file. Raises ConfigError with all faults."""
    file = str(path)
    try:
        raw = filesystem.read_file(path, LIMIT_BYTES + 1)
    except OSError as error:
        raise ConfigError([Fault(file, None, "", f"cannot be read: {error.strerror or error}")]) from None
    return parse(raw, file, may_be_empty=may_be_empty)


def parse(raw: bytes, file: str, *, may_be_empty: bool = False) -> Source:
    """As `read`, from bytes."""
    if len(raw) > LIMIT_BYTES:
        raise ConfigError(
            [Fault(file, None, "", f"is larger than {LIMIT_BYTES >> 10} KiB; that is not a job or config")]
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError([Fault(file, line, "", "is not UTF-8 text; save it as UTF-8")]) from None
    reader = _Reader(file)
    try:
        node = yaml.compose(text, Loader=_Loader)
        data = reader.value(node, ()) if node else None
    except yaml.YAMLError as error:
        raise ConfigError([_syntax(error, file, text)]) from None
    except RecursionError:
        raise ConfigError([Fault(file, None, "", "is nested too deeply")]) from None
    if reader.faults:
        raise ConfigError(reader.faults)
    if data is None and may_be_empty:
        return Source(file, {}, {})
    if data is None:
        raise ConfigError([Fault(file, None, "", "is empty")])
    if not isinstance(data, dict):
        raise ConfigError([Fault(file, 1, "", "must be a mapping of keys, one `key: value` a line")])
    return Source(file, data, reader.lines)


class _Reader:
    """Converts YAML nodes into plain values and records their lines."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.faults: list[Fault] = []
        self.lines: dict[Place, int] = {}
        self._seen = 0

    def value(self, node: yaml.Node, place: Place) -> Any:
        self._seen += 1
        if self._seen > LIMIT_VALUES or len(place) > LIMIT_DEPTH:
            raise yaml.MarkedYAMLError(
                problem="has too many values or levels: aliases may not multiply", problem_mark=node.start_mark
            )
        self.lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(each, (*place, index)) for index, each in enumerate(node.value)]
        return self._scalar(node, place)

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self.faults.append(Fault(self.file, line, path_text(place), "a key must be a plain word"))
                continue
            name = key.value
            if key.tag == "tag:yaml.org,2002:merge":
                self.faults.append(Fault(self.file, line, "<<", "merging with << is not supported; write the keys out"))
            elif name in found:
                first = self.lines[(*place, name)]
                self.faults.append(
                    Fault(self.file, line, path_text((*place, name)), f"is given twice, first in line {first}")
                )
            else:
                self.lines[(*place, name)] = line
                found[name] = self.value(value, (*place, name))
        return found

    def _scalar(self, node: yaml.Node, place: Place) -> Any:
        text: str = node.value
        match node.tag.rpartition(":")[2]:
            case "null":
                return None
            case "bool":
                return text.casefold() == "true"
            case "int":
                return int(text) if len(text) <= 30 else text
            case "float":
                return Decimal(text)
            case "str":
                return text
        self.faults.append(
            Fault(self.file, node.start_mark.line + 1, path_text(place), f"the tag {node.tag} has no meaning here")
        )
        return None


_SYNTAX_MESSAGES = (  # part of a message of PyYAML, and ours
    ("expected ',' or", "a bracket, { or [, is not closed, or a comma is missing before this"),
    ("expected <block end>", "is not indented as far as the lines that it belongs to"),
    ("did not find expected key", "is not indented as far as the lines that it belongs to"),
    ("mapping values are not allowed", 'has ": " in a text, or is indented wrongly; put text with ": " in quotes'),
    ("could not find expected ':'", "is not `key: value`; put a blank after the colon"),
    ("found unexpected end of stream", "a quote or a bracket is opened above and never closed"),
    ("expected the node content", "something is missing here, such as a value or a closing bracket"),
    ("cannot start any token", "begins with a special character of YAML; put the text in quotes"),
    ("found undefined alias", "begins with *, a special character of YAML; put the text in quotes"),
    ("expected a single document", "has a line --- in it; a job is one file"),
)


def _syntax(error: yaml.YAMLError, file: str, text: str) -> Fault:
    mark = getattr(error, "problem_mark", None)
    line = mark.line + 1 if mark else None
    if isinstance(error, yaml.reader.ReaderError):
        line = text[: error.position].count("\n") + 1
        return Fault(file, line, "", f"has a character that YAML does not allow (code {int(error.character)})")
    problem = getattr(error, "problem", None) or "is not YAML"
    opened = getattr(error, "context_mark", None)
    if mark and opened and problem.startswith("expected ',' or"):
        inside = enumerate(text.splitlines()[opened.line : mark.line + 1], start=opened.line + 1)
        comment = next((number for number, row in inside if re.search(r"[\[{,][^#'\"]*\s#", row)), None)
        if comment:
            return Fault(file, comment, "", "has a # after a blank, which begins a comment; put text with # in quotes")
    shown = text.splitlines()[mark.line] if mark and mark.line < len(text.splitlines()) else ""
    if "\t" in shown[: len(shown) - len(shown.lstrip())] or "'\\t'" in problem:
        return Fault(file, line, "", "has a tab in its indentation; indent with blanks")
    return Fault(file, line, "", next((message for part, message in _SYNTAX_MESSAGES if part in problem), problem))


def path_text(place: Place) -> str:
    """("fields", "total", "labels", 0) → fields.total.labels[0]"""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")


KeysAt = Callable[[Place, Mapping[str, Any]], Iterable[str]]


def validation_faults(error: ValidationError, source: Source, keys_at: KeysAt) -> list[Fault]:
    """The faults of a validation error of pydantic.

    `keys_at` gives the allowed keys of the mapping at a place. A validator may report several places at once with
    PydanticCustomError("faults", …, {"faults": [(place, message)]}).
    """
    found: list[Fault] = []
    for item in error.errors(include_url=False):
        place, around = _place(item["loc"], source.data)
        context = item.get("ctx", {})
        if item["type"] == "faults":
            found += [source.fault((*place, *inner), message) for inner, message in context["faults"]]
        elif item["type"] == "extra_forbidden":
            allowed = [key for key in keys_at(place[:-1], around) if key not in around]
            found.append(source.fault(place, unknown(str(place[-1]), allowed, "key")))
        elif item["type"] == "missing":
            form = FORMS.get(str(place[-1]))
            found.append(source.fault(place, f"is missing; write it as in `{form}`" if form else "is missing"))
        else:
            found.append(source.fault(place, _message(item["type"], context, item["msg"], item.get("input"))))
    return sorted(found, key=lambda fault: fault.line or 0)


FORMS: Mapping[str, str] = {  # examples of required keys
    "fields": "fields: {total: {type: money}}",
    "unit": "unit: kPa",
    "options": "options: [small, large]",
    "language": "language: html",
}


def _place(loc: Sequence[str | int], data: Any) -> tuple[Place, Mapping[str, Any]]:
    """The place in the file of pydantic's `loc`, without the tags of unions; and the innermost mapping around it."""
    place: list[str | int] = []
    around: Mapping[str, Any] = {}
    for index, part in enumerate(loc):
        if part == "[key]":  # pydantic's name for the key itself
            continue
        if isinstance(data, dict):
            is_tag = data.get("type") == part and (index + 1 < len(loc) or part not in data)
            if is_tag:
                continue
            around = data
            data = data.get(str(part))
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            continue  # inside a value that has another form in the file, such as options as a list
        place.append(part)
    return tuple(place), around


_MESSAGES = {  # of pydantic's error types
    "too_short": "must not be empty",
    **dict.fromkeys(("tuple_type", "list_type"), "must be a list, such as [first, second]"),
    **dict.fromkeys(
        ("dict_type", "model_type", "model_attributes_type"),
        "must be a mapping of keys, indented below it or in braces: {key: value}",
    ),
    **dict.fromkeys(("bool_parsing", "bool_type"), "must be true or false"),
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), "must be a whole number"),
    **dict.fromkeys(("float_parsing", "float_type", "decimal_parsing", "decimal_type"), "must be a number"),
}


def _message(kind: str, context: Mapping[str, Any], message: str, given: Any) -> str:
    match kind:
        case "union_tag_not_found":
            near = [key for key in given if "did you mean type?" in unknown(key, ["type"], "key")] if given else []
            return "needs a type, such as `type: text`" + (f"; {near[0]}: did you mean type?" if near else "")
        case "union_tag_invalid":
            allowed = [word.strip(" '") for word in str(context["expected_tags"]).split(",")]
            return f'"{context["tag"]}": ' + unknown(str(context["tag"]), allowed, "type")
        case "literal_error":
            allowed = [word.strip(" '") for word in re.split(r",| or ", str(context["expected"]))]
            return f'"{given}" is not allowed; ' + unknown(str(given), allowed, "word").replace("unknown word; ", "")
        case "string_type" if isinstance(given, list | dict):
            return "must be text, not a list or keys"
        case "string_type":
            return f"must be text; put it in quotes: '{str(given).lower() if isinstance(given, bool) else given}'"
        case "greater_than_equal":
            return f"must be at least {context['ge']:g}"
        case "less_than_equal":
            return f"must be at most {context['le']:g}"
    return _MESSAGES.get(kind) or message.removeprefix("Value error, ").removeprefix("Input ")
