"""Check field names: valid in rules, and distinct for every table engine."""

import keyword
import unicodedata
from collections.abc import Iterable, Iterator

BOOKKEEPING = (
    "document_id", "source", "page", "pages", "status", "received_at", "processed_at",
    "confidence", "evidence", "issues", "error", "files", "engine", "job_digest", "run",
)  # fmt: skip
RULE_WORDS = ("today",)


def faults(names: Iterable[str], *, top: bool = False) -> Iterator[tuple[str, str]]:
    """(name, message) for each invalid name. `top`: the names become columns of the table."""
    seen: dict[str, str] = {}
    columns: set[str] = set()
    for name in names:
        if name in columns:
            yield name, "is a column already: it keeps how the measure is printed; choose another name"
        columns.add(name)
        if not name.isidentifier():
            yield name, "a field's name is made of letters, digits and _ and does not begin with a digit"
        elif keyword.iskeyword(name) or name in RULE_WORDS:
            yield name, f'"{name}" is a word of the rules; call the field {name}_ or better'
        elif name != (plain := unicodedata.normalize("NFKC", name)):
            yield name, f'has letters in an unusual form; write "{plain}"'
        elif top and name.casefold() in BOOKKEEPING:
            yield name, f'the table has a column of its own called "{name.casefold()}"; choose another name'
        elif (first := seen.setdefault(name.casefold(), name)) != name:
            yield name, f'differs from "{first}" in capitals only; tables do not tell them apart'
