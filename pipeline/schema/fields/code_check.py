"""Check the syntax of code by parsing it (Python is compiled). Nothing is executed, nothing raised.

Each check is one pass over a text of limited length. JavaScript, CSS, SQL and shell are not checked: there is no light
parser.
"""

import ast
import csv
import io
import json
import re
import warnings
from collections.abc import Callable
from html.parser import HTMLParser
from typing import NoReturn

DEEPEST = 100  # nested brackets, tags or levels of indentation
_VOID = re.compile("area|base|br|col|embed|hr|img|input|link|meta|param|source|track|wbr")
_CLOSES_ITSELF = re.compile("html|head|body|p|li|d[td]|t[rdh]|thead|tbody|tfoot|option|optgroup|colgroup|caption|r[tp]")
_BRACKETS = re.compile(r"[(\[{]|[)\]}]")


def fault(language: str, text: str) -> str | None:
    """The syntax error with its line as one sentence, or None. Never raises."""
    check = _CHECKS.get(language)
    if check is None:
        return None
    try:
        return check(text)
    except (RecursionError, MemoryError):
        return f"it is nested too deeply to be read as {language}"


def headings(markdown: str) -> list[list[str]]:
    """The headings of every table of a Markdown text."""
    from markdown_it import MarkdownIt

    found: list[list[str]] = []
    inside = False
    parser = MarkdownIt("commonmark", {"maxNesting": DEEPEST}).enable("table").disable("inline")
    for token in parser.parse(markdown):
        if token.type == "thead_open":
            found.append([])
        if token.type in ("th_open", "th_close"):
            inside = token.type == "th_open"
        elif inside and token.type == "inline":
            found[-1].append(token.content)
    return found


# --- one function a language


def _html(text: str) -> str | None:
    if fault := _unclosed(text):
        return fault
    tags = _Tags()
    tags.read(text)
    return tags.fault or (None if tags.seen else "it has no HTML element")


def _unclosed(text: str) -> str | None:
    """Reject many unclosed tags: the parser's time grows with their square."""
    if text.count("<") - text.count(">") > DEEPEST:
        return f"it has over {DEEPEST} more < than >"
    return None


def _vue(text: str) -> str | None:
    if fault := _unclosed(text):
        return fault
    tags = _Tags(component=True)
    tags.read(text)
    missing = " and ".join(f"<{name}>" for name in ("template", "script") if name not in tags.top)
    return f"a Vue file needs a {missing} block" if missing else tags.fault


def _python(text: str) -> str | None:
    if _depth(text) > DEEPEST:  # the parser of Python takes exponentially long for some texts with many brackets
        return f"it has more than {DEEPEST} nested brackets"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as for "\d" in a string
        try:
            compile(_without_finally(ast.parse(text)), "answer", "exec", dont_inherit=True)
        except SyntaxError as error:
            return f"Python does not read line {error.lineno or 1}: {error.msg}"
        except ValueError as error:
            return f"Python does not read it: {error}"
    return None


def _without_finally(tree: ast.Module) -> ast.Module:
    """Move the body of `finally` to the end of its `try`, which gives the same errors.

    Python compiles it once for every exit of the block: 19 nested ones would make half a million copies.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Try | ast.TryStar) and node.finalbody:
            node.body, node.finalbody = [*node.body, *node.finalbody], []
            idle = ast.copy_location(ast.Pass(), node)
            node.handlers = node.handlers or [ast.copy_location(ast.ExceptHandler(body=[idle]), node)]
    return tree


def _json(text: str) -> str | None:
    try:
        json.loads(text, parse_constant=_no_constant, parse_int=str)
    except json.JSONDecodeError as error:
        return f"it is not JSON: line {error.lineno}: {error.msg}"
    except ValueError as error:
        return f"it is not JSON: {error}"
    return None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _csv(text: str) -> str | None:
    first = text.split("\n", 1)[0]
    sign = max(",;\t|", key=first.count)
    width = 0
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=sign, strict=True)
    try:
        for row in reader:
            if not row:
                continue
            width = width or len(row)
            if len(row) != width:
                return f"line {reader.line_num} has {len(row)} values, the first line has {width}"
    except csv.Error as error:
        return f"it is not CSV: line {reader.line_num}: {error}"
    return None


def _xml(text: str) -> str | None:
    from xml.parsers import expat

    def refuse(*_: object) -> NoReturn:
        raise ValueError("it declares entities, which no plain XML file needs")

    parser = expat.ParserCreate()
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(text.encode("utf-8", "replace"), True)
    except expat.ExpatError as error:
        return f"it is not XML: line {error.lineno}: {expat.ErrorString(error.code)}"
    except ValueError as error:
        return str(error)
    return None


def _yaml(text: str) -> str | None:
    import yaml

    if _depth(text) > DEEPEST:
        return f"it has more than {DEEPEST} nested brackets"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        for _ in yaml.parse(text, Loader=loader):  # events only: no alias is expanded, no object made
            pass
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        return f"it is not YAML: {line}{error.problem}"
    except yaml.YAMLError as error:
        return f"it is not YAML: {str(error).splitlines()[0]}"
    return None


_CHECKS: dict[str, Callable[[str], str | None]] = {
    "html": _html, "vue": _vue, "python": _python, "json": _json, "csv": _csv, "xml": _xml, "yaml": _yaml,
}  # fmt: skip


def _depth(text: str) -> int:
    """The deepest nesting of brackets. Brackets in strings count too."""
    deepest = depth = 0
    for bracket in _BRACKETS.findall(text):
        depth = depth + 1 if bracket in "([{" else max(0, depth - 1)
        deepest = max(deepest, depth)
    return deepest


class _Tags(HTMLParser):
    """Tracks the open elements. `top` are the names of the outermost ones."""

    def __init__(self, component: bool = False) -> None:
        super().__init__(convert_charrefs=False)
        self.component, self.seen, self.top = component, False, set[str]()
        self.fault: str | None = None
        self._open: list[tuple[str, int]] = []

    def read(self, text: str) -> None:
        try:
            self.feed(text)
            self.close()
        except AssertionError as error:  # raised for an unknown declaration
            self._found(f"line {self.getpos()[0]}: {error}")
        self._leave(0, "the end of the file")

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen = True
        if not self._open:
            self.top.add(tag)
        if _VOID.fullmatch(tag):
            return
        if len(self._open) < DEEPEST:
            self._open.append((tag, self.getpos()[0]))
        else:
            self._found(f"more than {DEEPEST} elements are nested")

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.seen = True
        if not self._open:
            self.top.add(tag)

    def handle_endtag(self, tag: str) -> None:
        line = self.getpos()[0]
        names = [name for name, _ in self._open]
        if tag not in names:
            self._found(f"</{tag}> in line {line} closes nothing")
            return
        at = len(names) - 1 - names[::-1].index(tag)
        self._leave(at + 1, f"</{tag}> in line {line}")
        del self._open[at:]

    def _leave(self, keep: int, where: str) -> None:
        for name, line in self._open[keep:]:
            if self.component or not _CLOSES_ITSELF.fullmatch(name):
                self._found(f"<{name}> of line {line} is not closed before {where}")
        del self._open[keep:]

    def _found(self, fault: str) -> None:
        self.fault = self.fault or fault
