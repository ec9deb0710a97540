"""What all commands share: options, settings, the engine, output, error handling, stop signals."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Annotated, Any

import simplejson
import typer

from pipeline.core.errors import CANNOT_RUN, INTERRUPTED, ConfigError, Fault, ScanmillError
from pipeline.core.safe_text import json_text, sanitize_lines
from pipeline.reporting.console import ConsoleReporter, Screen
from pipeline.reporting.json_log import JsonLog
from pipeline.schema.job import Job, load_job, load_jobs
from pipeline.schema.settings import Settings, load_settings
from pipeline.system import missing_library
from pipeline.system.filesystem import storage_error
from pipeline.system.resource_shortage import check_address_space, raising_shortage

HERE = Path(__file__).resolve().parents[1]  # the project, with jobs/, configs/ and samples/

Root = Annotated[
    Path | None,
    typer.Option("--root", metavar="DIR", help="Root folder, with inbox/, results/ and the other data folders."),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Config file with the settings of this machine (configs/*.yaml)."),
]
Jobs = Annotated[Path | None, typer.Option("--jobs", metavar="DIR", help="Folder with the job files.")]
Only = Annotated[list[str] | None, typer.Option("--job", metavar="NAME", help="Only this job; may be repeated.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout; everything else goes to stderr.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="Stop after this many documents.")]
Until = Annotated[
    str | None,
    typer.Option("--until", metavar="HH:MM", help="Stop at this time of day, within a minute."),
]
JobName = Annotated[str, typer.Argument(metavar="JOB", help="Name of a job, or path of a job file.")]


def read_settings(config: Path | None, **overrides: Any) -> Settings:
    """The settings of the config file, by default configs/default.yaml. Options of the command line take precedence."""
    default = HERE / "configs" / "default.yaml"
    return load_settings(config or (default if default.is_file() else None), **overrides)


def find_job(settings: Settings, name: str) -> Job:
    """The job with this name or file. Raises ConfigError."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not os.path.lexists(path):
            raise ConfigError([Fault(name, None, "", "there is no such job file")])
        return load_job(path)
    return load_jobs(settings.jobs, [name])[0]


def print_json(value: Any) -> None:
    """Print one JSON value to stdout. Decimals keep every digit; bytes of a name that are not UTF-8 are escaped."""
    text = simplejson.dumps(value, ensure_ascii=False, indent=1, use_decimal=True, default=str)
    sys.stdout.write(json_text(text) + "\n")


def write_stdout(text: object) -> None:
    """Write lines to stdout without control sequences. Apply `harmless` to names first: they may hold newlines."""
    sys.stdout.write(sanitize_lines(text) + "\n")


def write_stderr(text: object) -> None:
    """As `write_stdout`, to stderr."""
    sys.stderr.write(sanitize_lines(text) + "\n")


@contextmanager
def error_handling(as_json: bool = False) -> Iterator[None]:
    """Print errors to stderr, or as JSON, and exit with their exit code."""
    try:
        with interruptible(), system_errors():
            yield
    except ScanmillError as error:
        if as_json:
            faults = [str(fault) for fault in error.faults] if isinstance(error, ConfigError) else [str(error)]
            with suppress(OSError):  # stdout may be what failed
                print_json({"scanmill": 1, "error": type(error).__name__, "messages": faults})
        if not error.logged:
            write_stderr(error)
        raise typer.Exit(error.exit_code) from None
    except Exception as error:
        missing = missing_library.fault(error)
        if missing is None:
            raise
        if as_json:
            print_json({"scanmill": 1, "error": type(missing).__name__, "messages": [str(missing)]})
        sys.stderr.write(f"{missing}\n")
        raise typer.Exit(CANNOT_RUN) from None
    except KeyboardInterrupt:
        write_stderr("Interrupted. The next run moves documents in progress back to the inbox.")
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def interruptible() -> Iterator[None]:
    """Inside, Ctrl-C raises KeyboardInterrupt; outside, `run_batch.py` exits at once without a message."""
    before = signal.getsignal(signal.SIGINT)
    if before == signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def system_errors() -> Iterator[None]:
    """Convert OSErrors: ModelError if a resource ran out, else StorageError."""
    try:
        with raising_shortage():
            yield
    except BrokenPipeError:  # the reader of our output is gone; typer exits without a message
        raise
    except OSError as error:
        raise storage_error(error, error.filename or "the current folder, or the target of the output") from error


class Stop:
    """Callable: true after SIGINT or SIGTERM, or at the given time of day. A second signal interrupts at once."""

    def __init__(self, until: str | None) -> None:
        self.signalled = False
        self._end = _next(until) if until else None
        self._deadline_s = _deadline(self._end) if self._end else None
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, self._on_signal)

    def _on_signal(self, number: int, frame: object) -> None:
        if self.signalled:  # second signal: stop at once; the next run recovers
            raise KeyboardInterrupt
        self.signalled = True

    def __call__(self) -> bool:
        if self._end is None or self._deadline_s is None:
            return self.signalled
        return self.signalled or datetime.now() >= self._end or time.monotonic() >= self._deadline_s


def _deadline(end: datetime) -> float:
    """The latest value of `time.monotonic` at the end, even if the clock is set back. One hour allows for DST."""
    return time.monotonic() + (end - datetime.now()).total_seconds() + 3600


def patience(minutes: float, stop: Stop, screen: Screen | JsonLog) -> Callable[[str], bool]:
    """The `patience` of a RootLock: whether to try again, after one second. Raises typer.Exit after a signal."""
    deadline_s, noted = time.monotonic() + minutes * 60, False

    def again(busy: str) -> bool:
        nonlocal noted
        if stop.signalled:
            raise typer.Exit(INTERRUPTED)
        if stop() or time.monotonic() >= deadline_s:
            return False
        if not noted:
            screen.note(f"{busy} Waiting for it, {minutes:g} minutes at most.")
            noted = True
        time.sleep(1.0)
        return True

    return again


def _next(until: str) -> datetime:
    """The next time at which the clock shows HH:MM. Raises ConfigError."""
    try:
        clock = datetime.strptime(until, "%H:%M").time()
    except ValueError:
        raise ConfigError([Fault("--until", None, "", f"{until} is not a time of day; write 06:00")]) from None
    now = datetime.now()
    end = datetime.combine(now.date(), clock)
    return end if end > now else end + timedelta(days=1)


def open_screen(settings: Settings) -> Screen | JsonLog:
    """The output of a run: progress on the terminal, or JSON lines."""
    return JsonLog() if settings.log == "json" else Screen()


@contextmanager
def open_engine(settings: Settings, screen: Screen | JsonLog) -> Iterator[tuple[Any, str]]:
    """The engine, and a sentence that says which one was chosen and why. Raises ModelError."""
    from pipeline.plugins import engines

    check_address_space(settings.limits.memory_mib)
    log = logging.getLogger("scanmill")  # for the engine's log lines about memory and kernels
    log.setLevel(logging.INFO)
    # buffered at first, so that the first line of a run names the engine
    log.addHandler(buffer := MemoryHandler(1000, logging.CRITICAL, ConsoleReporter(screen)))
    try:
        model, why = engines.load(settings)
        screen.note(why)
        buffer.flushLevel = logging.INFO
        buffer.flush()
        try:
            yield model, why
        finally:
            model.close()
    finally:
        log.removeHandler(buffer)
