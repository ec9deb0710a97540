#!/usr/bin/env python3
"""The command line of Scanmill. Without a command it is `run`; the commands are in commands/."""

import io
import os
import signal
import sys
from types import FrameType


def _leave(number: int, frame: FrameType | None) -> None:
    """Exit at once on Ctrl-C before and after a command: nothing is open that must be closed."""
    os._exit(130)


if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _leave)

try:
    from pipeline.system.resource_shortage import imports_fault, shortage

    if __name__ == "__main__" and (fault := imports_fault()):
        sys.stderr.write(f"{fault}\n")
        sys.exit(3)

    import typer

    from commands import jobs, operations, run, web
except (ImportError, MemoryError) as error:
    if __name__ != "__main__":
        raise
    missing_package = (
        f"A package is missing or cannot be loaded ({error}). "
        "Install Scanmill's packages: pip install -c constraints.txt -e ."
    )
    sys.stderr.write(f"{shortage(error) or missing_package}\n")
    sys.exit(3)

app = typer.Typer(
    help="Read scanned documents from an inbox folder into checked tables. Without a command: run.",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=False,
)
app.command()(run.run)
app.command()(run.watch)
app.command()(jobs.check)
app.command()(jobs.show)
app.command()(jobs.status)
app.command()(run.retry)
app.command()(jobs.table)
app.command("eval")(jobs.evaluate)
app.command()(run.demo)
app.command()(jobs.new)
app.command()(operations.doctor)
app.command()(operations.schedule)
app.command()(operations.bundle)
app.command()(web.web)


def main(arguments: list[str]) -> None:
    """`run_batch.py` alone, or with options only, is `run_batch.py run`."""
    if sys.stdout is None or sys.stderr is None:  # closed, as with >&-
        devnull = open(os.devnull, "w")  # noqa: SIM115 - it lasts as long as the process
        sys.stdout, sys.stderr = sys.stdout or devnull, sys.stderr or devnull
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for terminals that are not UTF-8
    has_command = arguments and (not arguments[0].startswith("-") or arguments[0] in ("-h", "--help"))
    app(arguments if has_command else ["run", *arguments], prog_name="run_batch.py")


if __name__ == "__main__":
    main(sys.argv[1:])
