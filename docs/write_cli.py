"""Writes docs/cli.md from the command line itself. Run it after changing a command: python docs/write_cli.py"""

import runpy
from pathlib import Path
from typing import Any

import typer

HERE = Path(__file__).resolve().parent
HEAD = """# The command line

`python run_batch.py COMMAND …`; without a command it is `run`. This page is made from the commands themselves by
`python docs/write_cli.py`; a test fails when the two differ.

Results go to stdout, everything else to stderr. With `--json`, stdout holds one JSON object and nothing else.
Exit codes: 0 clean, 1 some documents failed, 2 a job or the config is wrong, 3 the model or the disk cannot be used,
75 another run holds the root, 130 interrupted. [errors.md](errors.md) tells what to do about each.
"""


def written() -> str:
    """The page as the commands are now."""
    app = runpy.run_path(str(HERE.parent / "run_batch.py"))["app"]
    parts = [HEAD]
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        parts.append(f"## {name}\n{' '.join((command.help or '').split())}\n")
        rows = [_row(each) for each in command.params if each.name != "help"]
        if rows:
            parts.append("| | | default |\n|---|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _row(parameter: Any) -> str:
    argument = parameter.param_type_name == "argument"
    name = parameter.metavar or parameter.name.upper() if argument else parameter.opts[-1]
    if not argument and not parameter.is_flag:
        name += f" {parameter.metavar}"
    default = "" if parameter.default in (None, False, ()) or parameter.required else f"`{parameter.default}`"
    return f"| `{name}` | {parameter.help or ''} | {default} |"


if __name__ == "__main__":
    (HERE / "cli.md").write_text(written(), "utf-8")
