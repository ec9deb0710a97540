"""docs/extending.md as the tests read it: a section, and its code blocks."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


def section(title: str) -> str:
    """The text below the heading `## title`, up to the next heading of that level."""
    (text,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return str(text)


def block(title: str, language: str) -> str:
    """The one code block of a language in a section."""
    (code,) = re.findall(rf"```{language}\n(.*?)```", section(title), re.DOTALL)
    return str(code)


def module(title: str) -> str:
    """The file name of a section's module: its first line is a comment with that name."""
    return block(title, "python").splitlines()[0].removeprefix("# ")
