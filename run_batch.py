#!/usr/bin/env python3
"""Scanmill's command line: parse, wire, map errors to exit codes. The work itself lies in pipeline/ and models/."""

import logging
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Annotated, Any

import simplejson
import typer

from pipeline.console import Screen, ToScreen, show_account, show_rows, show_score
from pipeline.errors import INTERRUPTED, SOME_FAILED, ConfigError, Fault, ScanmillError
from pipeline.job import Job, load_jobs
from pipeline.settings import Settings, load_settings

HERE = Path(__file__).resolve().parent


app = typer.Typer(
    help="Drop scans into a folder; in the morning there is a checked table. Without a command: run.",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=False,
)

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
Until = Annotated[str | None, typer.Option("--until", metavar="HH:MM", help="Begin nothing new after this time.")]
JobName = Annotated[str, typer.Argument(metavar="JOB", help="A job's name, or the path of a job file.")]


# ---- wiring
def _settings(config: Path | None, **overrides: Any) -> Settings:
    default = HERE / "configs" / "default.yaml"
    return load_settings(config or (default if default.is_file() else None), **overrides)


def _job(settings: Settings, name: str) -> Job:
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        from pipeline.job import parse_job

        if not path.is_file():
            raise ConfigError([Fault(name, None, "", "there is no such job file")])
        return parse_job(path.read_bytes(), str(path))
    return load_jobs(settings.jobs, [name])[0]


def _print_json(value: Any) -> None:
    sys.stdout.write(simplejson.dumps(value, ensure_ascii=False, indent=1, use_decimal=True, default=str) + "\n")


@contextmanager
def _errors(as_json: bool = False) -> Iterator[None]:
    """Every error becomes a sentence on stderr and its exit code."""
    try:
        yield
    except ScanmillError as error:
        if as_json:
            faults = [str(fault) for fault in error.faults] if isinstance(error, ConfigError) else [str(error)]
            _print_json({"scanmill": 1, "error": type(error).__name__, "messages": faults})
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. What was in hand goes back to the inbox at the next start.\n")
        raise typer.Exit(INTERRUPTED) from None


class _Stop:
    """True once a signal came, or the given time of day has come."""

    def __init__(self, until: str | None) -> None:
        self.signalled = False
        self._end = _next(until) if until else None
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, self._hear)

    def _hear(self, number: int, frame: object) -> None:
        if self.signalled:  # asked twice: stop at once; the next start repairs
            raise KeyboardInterrupt
        self.signalled = True

    def __call__(self) -> bool:
        return self.signalled or (self._end is not None and datetime.now() >= self._end)


def _next(until: str) -> datetime:
    """The next time the clock shows HH:MM."""
    try:
        clock = datetime.strptime(until, "%H:%M").time()
    except ValueError:
        raise ConfigError([Fault("--until", None, "", f"{until} is not a time of day; write 06:00")]) from None
    now = datetime.now()
    end = datetime.combine(now.date(), clock)
    return end if end > now else end + timedelta(days=1)


@contextmanager
def _engine(settings: Settings, screen: Screen) -> Iterator[tuple[Any, str]]:
    import models

    log = logging.getLogger("scanmill")  # what an engine says of its plan and its kernels
    log.setLevel(logging.INFO)
    # held back at first: the first line of a run is the one that says which engine reads, and why
    log.addHandler(told := MemoryHandler(1000, logging.CRITICAL, ToScreen(screen)))
    try:
        model, why = models.load(settings)
        screen.note(why)
        told.flushLevel = logging.INFO
        told.flush()
        try:
            yield model, why
        finally:
            model.close()
    finally:
        log.removeHandler(told)


# ---- commands
@app.command()
def run(
    root: Root = None,
    config: Config = None,
    jobs: Jobs = None,
    job: Only = None,
    limit: Limit = None,
    until: Until = None,
    as_json: Json = False,
) -> None:
    """Drain the inbox once. This is what `run_batch.py` alone does."""
    with _errors(as_json):
        settings = _settings(config, root=root, jobs=jobs)
        chosen = load_jobs(settings.jobs, job or ())
        stop = _Stop(until)
        account = _drain(settings, chosen, limit, stop)
        if as_json:
            _print_json(account.to_dict())
        counts = account.summary()
        if stop.signalled:
            raise typer.Exit(INTERRUPTED)
        if counts["failed"] or account.faults():
            raise typer.Exit(SOME_FAILED)


def _drain(settings: Settings, jobs: list[Job], limit: int | None, stop: Callable[[], bool]) -> Any:
    from pipeline.mill import Mill

    with (
        Screen() as screen,
        _engine(settings, screen) as (model, why),
        Mill(settings, jobs, model, why, screen) as mill,
    ):
        account = mill.batch(limit, stop)
    show_account(account, settings.root)
    return account


@app.command()
def watch(root: Root = None, config: Config = None, jobs: Jobs = None, job: Only = None, until: Until = None) -> None:
    """Keep the engine warm and read whatever is dropped, until stopped."""
    with _errors():
        from pipeline.mill import Mill
        from pipeline.watch import watch as keep_watching

        settings = _settings(config, root=root, jobs=jobs)
        chosen, stop = load_jobs(settings.jobs, job or ()), _Stop(until)
        with (
            Screen() as screen,
            _engine(settings, screen) as (model, why),
            Mill(settings, chosen, model, why, screen) as mill,
        ):
            screen.note(f"watching {settings.root / 'inbox'}; stop with Ctrl-C")
            for account in keep_watching(mill, settings.root / "inbox", stop, settings.poll, settings.rescan_s):
                show_account(account, settings.root)
        if stop.signalled:
            raise typer.Exit(INTERRUPTED)


@app.command()
def check(root: Root = None, config: Config = None, jobs: Jobs = None, as_json: Json = False) -> None:
    """Look for faults in the settings and in every job, and name them all."""
    with _errors(as_json):
        settings = _settings(config, root=root, jobs=jobs)
        chosen = load_jobs(settings.jobs)
        rows = [
            {
                "job": each.name,
                "inbox": each.inbox,
                "per": each.per,
                "fields": len(each.fields),
                "rules": len(each.rules),
            }
            for each in chosen
        ]
        if as_json:
            _print_json({"scanmill": 1, "jobs": rows, "faults": []})
        else:
            show_rows(list(rows[0]), [list(row.values()) for row in rows], f"{len(rows)} jobs, no faults")


@app.command()
def show(job: JobName, config: Config = None, jobs: Jobs = None, as_json: Json = False) -> None:
    """Show what a job makes of itself: the prompt, the JSON schema of the answer, the columns of the table."""
    with _errors(as_json):
        from pipeline.inspect import inspect

        view = inspect(_job(_settings(config, jobs=jobs), job))
        if as_json:
            _print_json(view)
        else:
            sys.stdout.write(f"{view['system']}\n\n{view['question']}\n\n")
            sys.stdout.write(simplejson.dumps(view["schema"], ensure_ascii=False, indent=1) + "\n\n")
            show_rows(["column", "type"], view["columns"].items())


@app.command()
def status(root: Root = None, config: Config = None, jobs: Jobs = None, as_json: Json = False) -> None:
    """Say what waits, what is in work, what failed, and how the last run ended."""
    with _errors(as_json):
        from pipeline.status import status as look

        settings = _settings(config, root=root, jobs=jobs)
        view = look(settings.root, load_jobs(settings.jobs))
        if as_json:
            _print_json(view)
        else:
            rows = [list(row.values()) for row in view["boxes"]]
            show_rows(["inbox", "jobs", "waiting", "in work", "done", "failed", "duplicate"], rows)
            for note in view["notes"]:
                sys.stdout.write(f"{note}\n")


@app.command()
def retry(
    box: Annotated[list[str] | None, typer.Argument(metavar="[BOX]...", help="Only these inboxes.")] = None,
    root: Root = None,
    config: Config = None,
) -> None:
    """Move failed documents back into their inbox, to be read again at the next run."""
    with _errors():
        from pipeline.inbox import Inbox
        from pipeline.lock import RootLock

        settings = _settings(config, root=root)
        with RootLock(settings.root, "retry"):
            moved = Inbox(settings.root, "retry").retry(box)
        sys.stdout.write("".join(f"inbox/{name}\n" for name in moved))
        sys.stderr.write(f"{len(moved)} documents are back in the inbox.\n")


@app.command()
def table(job: JobName, root: Root = None, config: Config = None, jobs: Jobs = None) -> None:
    """Make a job's Parquet again from its JSON records."""
    with _errors():
        from pipeline.lock import RootLock
        from pipeline.store import Store
        from pipeline.table import Table

        settings = _settings(config, root=root, jobs=jobs)
        with RootLock(settings.root, "table"):
            chosen = _job(settings, job)
            rows = Table(settings.root, chosen).rebuild(Store(settings.root).days(chosen))
        sys.stdout.write(f"{settings.root / 'results' / job}: {rows} rows\n")


@app.command(name="eval")
def evaluate(
    job: JobName,
    labels: Annotated[Path, typer.Argument(metavar="LABELS.jsonl", help="One JSON a line: file, fields, norm.")],
    config: Config = None,
    jobs: Jobs = None,
    limit: Limit = None,
    html: Annotated[
        Path, typer.Option("--html", metavar="FILE", help="Where to write the page with the worst ten.")
    ] = Path("eval.html"),
    as_json: Json = False,
) -> None:
    """Measure a job on labelled files: right, close, missing and invented per field, and whether confidence holds."""
    with _errors(as_json):
        from pipeline import scoring
        from pipeline.evaluate import evaluate as measure
        from pipeline.mill import decoders
        from pipeline.pages import Pages

        settings = _settings(config, jobs=jobs)
        asked, truth = _job(settings, job), scoring.read_labels(labels)[:limit]
        with Screen() as screen, _engine(settings, screen) as (model, _), decoders(settings) as pool:
            pages = Pages(pool, settings.limits, settings.passwords)
            score, pictures = measure(asked, truth, model, pages, screen)
        scoring.write_html(score, html, pictures)
        if as_json:
            _print_json(score.to_dict())
        else:
            show_score(score)
        sys.stderr.write(f"the worst ten: {html}\n")


@app.command()
def demo(
    root: Annotated[
        Path, typer.Option("--root", metavar="DIR", help="Where to put the demo; it is emptied first.")
    ] = Path("demo"),
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Read the sample documents into a fresh folder and compare with what they truly say."""
    with _errors(as_json):
        from pipeline.demo import compare_with_truth, lay_out, read_back, show_demo

        settings = _settings(config, root=root, jobs=HERE / "jobs")
        chosen = lay_out(HERE / "samples", root, load_jobs(settings.jobs))
        account = _drain(settings, chosen, None, _Stop(None))
        records = read_back(root, chosen)
        scores = compare_with_truth(HERE / "samples", chosen, records)
        if as_json:
            _print_json({**account.to_dict(), "truth": {name: each.to_dict() for name, each in scores.items()}})
        else:
            show_demo(root, chosen, records, scores)


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new job's name.")],
    config: Config = None,
    jobs: Jobs = None,
) -> None:
    """Write a commented starter job to jobs/NAME.yaml."""
    with _errors():
        from pipeline.starter import write

        settings = _settings(config, jobs=jobs)
        path = write(settings.jobs, name)
        sys.stdout.write(f"{path}\n")
        sys.stderr.write(
            f"Edit it, then: python run_batch.py show {name}; drop scans into {settings.root}/inbox/{name}/\n"
        )


def main(arguments: list[str]) -> None:
    """`run_batch.py` alone, or with options only, is `run_batch.py run`."""
    named = arguments and (not arguments[0].startswith("-") or arguments[0] in ("-h", "--help"))
    app(arguments if named else ["run", *arguments], prog_name="run_batch.py")


if __name__ == "__main__":
    main(sys.argv[1:])
