"""Rewrites the tables of docs/errors.md from the code: `python docs/write_errors.py`. Advice written there is kept."""

import re
from collections.abc import Iterable
from pathlib import Path

from pipeline.core.errors import DOCUMENT_ERRORS
from pipeline.core.types import ISSUES
from pipeline.plugins.formats import explain_error

PAGE = Path(__file__).with_name("errors.md")


def rows(page: str, name: str) -> list[list[str]]:
    """The cells of the table after the marker `name`, without its head."""
    found = re.search(rf"<!-- {name}:.*?-->\n(.*?)<!-- end -->", page, re.DOTALL)
    if found is None:
        raise ValueError(f"{PAGE.name} has lost its marker <!-- {name}: … -->")
    lines = [line for line in found[1].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def written(page: str) -> str:
    """The page with both tables as the code has them. A new issue gets an empty third column, to be written."""
    advice = {row[0].strip("`"): row[2] for row in rows(page, "issues")}
    page = _replaced(
        page,
        "document errors",
        ("code", "cause", "cure"),
        ((f"`{code}`", explain_error(code).cause, explain_error(code).cure) for code in DOCUMENT_ERRORS),
    )
    return _replaced(
        page,
        "issues",
        ("code", "meaning", "what to do"),
        ((f"`{code}`", meaning, advice.get(code, "")) for code, meaning in ISSUES.items()),
    )


def _replaced(page: str, name: str, head: tuple[str, ...], body: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *body]
    table = "".join("| " + " | ".join(cells) + " |\n" for cells in lines).replace(
        "| --- | --- | --- |", "|---|---|---|"
    )
    pattern = rf"(<!-- {name}:.*?-->\n).*?(<!-- end -->)"
    return re.sub(pattern, lambda found: found[1] + table + found[2], page, count=1, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
