"""What the commands share: their options, and how settings, engine and errors reach them."""

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

HERE = Path(__file__).resolve().parents[1]  # the project: jobs/, configs/ and samples/ lie here

Root = Annotated[
    Path | None, typer.Option("--root", metavar="DIR", help="The folder with inbox/, results/ and the rest.")
]
Config = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="A machine's settings (configs/*.yaml).")]
Jobs = Annotated[Path | None, typer.Option("--jobs", metavar="DIR", help="The folder of job files.")]
Only = Annotated[
    list[str] | None, typer.Option("--job", metavar="NAME", help="Only this job; may be given several times.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout; all else goes to stderr.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="Stop after this many documents.")]
Until = Annotated[
    str | None,
    typer.Option("--until", metavar="HH:MM", help="End within a minute once the clock next shows this time."),
]
JobName = Annotated[str, typer.Argument(metavar="JOB", help="A job's name, or the path of a job file.")]


def settings_of(config: Path | None, **overrides: Any) -> Settings:
    """The settings of the config, else of configs/default.yaml; what the command line says comes first."""
    default = HERE / "configs" / "default.yaml"
    return load_settings(config or (default if default.is_file() else None), **overrides)


def job_named(settings: Settings, name: str) -> Job:
    """The job of that name, or of that file. Raises ConfigError."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not os.path.lexists(path):
            raise ConfigError([Fault(name, None, "", "there is no such job file")])
        return load_job(path)
    return load_jobs(settings.jobs, [name])[0]


def print_json(value: Any) -> None:
    """One JSON value on stdout; amounts keep every digit, and bytes of a name that are not UTF-8 are escapes."""
    text = simplejson.dumps(value, ensure_ascii=False, indent=1, use_decimal=True, default=str)
    sys.stdout.write(json_text(text) + "\n")


def say(text: object) -> None:
    """Lines on stdout, without control characters. Names in it go through `sanitize` first, so each is one line."""
    sys.stdout.write(sanitize_lines(text) + "\n")


def tell(text: object) -> None:
    """As `say`, on stderr."""
    sys.stderr.write(sanitize_lines(text) + "\n")


@contextmanager
def errors_told(as_json: bool = False) -> Iterator[None]:
    """Every error becomes a sentence on stderr and its exit code."""
    try:
        with interruptible(), errors_of_the_system():
            yield
    except ScanmillError as error:
        if as_json:
            faults = [str(fault) for fault in error.faults] if isinstance(error, ConfigError) else [str(error)]
            with suppress(OSError):  # it may be stdout that takes nothing any more
                print_json({"scanmill": 1, "error": type(error).__name__, "messages": faults})
        if not error.logged:
            tell(error)
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
        tell("Interrupted. What a run had in hand goes back to the inbox when the next one starts.")
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt inside; outside of it `run_batch.py` ends at once, in silence."""
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
def errors_of_the_system() -> Iterator[None]:
    """What nobody else has caught: raises ModelError where something ran out, StorageError for other OSErrors."""
    try:
        with raising_shortage():
            yield
    except BrokenPipeError:  # whoever reads our output has left; typer ends in silence
        raise
    except OSError as error:
        raise storage_error(error, error.filename or "the current folder, or where output goes") from error


class Stop:
    """True once a signal came, or the given time of day has come."""

    def __init__(self, until: str | None) -> None:
        self.signalled = False
        self._end = _next(until) if until else None
        self._last_s = _longest(self._end) if self._end else None
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, self._hear)

    def _hear(self, number: int, frame: object) -> None:
        if self.signalled:  # asked twice: stop at once; the next start repairs
            raise KeyboardInterrupt
        self.signalled = True

    def __call__(self) -> bool:
        if self._end is None or self._last_s is None:
            return self.signalled
        return self.signalled or datetime.now() >= self._end or time.monotonic() >= self._last_s


def _longest(end: datetime) -> float:
    """When `time.monotonic` has surely passed the end, though the clock was set back; an hour is for summer time."""
    return time.monotonic() + (end - datetime.now()).total_seconds() + 3600


def patience(minutes: float, stop: Stop, screen: Screen | JsonLog) -> Callable[[str], bool]:
    """What a run asks while another holds its folder (`RootLock`): whether to try again, a second later."""
    last_s, told = time.monotonic() + minutes * 60, False

    def again(busy: str) -> bool:
        nonlocal told
        if stop.signalled:
            raise typer.Exit(INTERRUPTED)
        if stop() or time.monotonic() >= last_s:
            return False
        if not told:
            screen.note(f"{busy} It is waited for, {minutes:g} minutes at most.")
            told = True
        time.sleep(1.0)
        return True

    return again


def _next(until: str) -> datetime:
    """The next time the clock shows HH:MM."""
    try:
        clock = datetime.strptime(until, "%H:%M").time()
    except ValueError:
        raise ConfigError([Fault("--until", None, "", f"{until} is not a time of day; write 06:00")]) from None
    now = datetime.now()
    end = datetime.combine(now.date(), clock)
    return end if end > now else end + timedelta(days=1)


def screen_of(settings: Settings) -> Screen | JsonLog:
    """Where a run tells what happens: bars or plain lines for people, or JSON lines."""
    return JsonLog() if settings.log == "json" else Screen()


@contextmanager
def engine_of(settings: Settings, screen: Screen | JsonLog) -> Iterator[tuple[Any, str]]:
    """The engine and the sentence that says which it is and why. Raises ModelError."""
    from pipeline.plugins import engines

    check_address_space(settings.limits.memory_mib)
    log = logging.getLogger("scanmill")  # what an engine says of its plan and its kernels
    log.setLevel(logging.INFO)
    # held back at first: the first line of a run is the one that says which engine reads, and why
    log.addHandler(told := MemoryHandler(1000, logging.CRITICAL, ConsoleReporter(screen)))
    try:
        model, why = engines.load(settings)
        screen.note(why)
        told.flushLevel = logging.INFO
        told.flush()
        try:
            yield model, why
        finally:
            model.close()
    finally:
        log.removeHandler(told)
