"""Commands that process or move documents: run, watch, retry, demo."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from commands.options import (
    HERE,
    Config,
    Jobs,
    Json,
    Limit,
    Only,
    Root,
    Stop,
    Until,
    error_handling,
    open_engine,
    open_screen,
    patience,
    print_json,
    read_settings,
    write_stderr,
    write_stdout,
)
from pipeline.core.errors import INTERRUPTED, SOME_FAILED, ConfigError, Fault
from pipeline.core.safe_text import sanitize
from pipeline.reporting.console import counted
from pipeline.schema.job import Job, load_jobs
from pipeline.schema.settings import Settings


def run(
    root: Root = None,
    config: Config = None,
    jobs: Jobs = None,
    job: Only = None,
    limit: Limit = None,
    until: Until = None,
    wait: Annotated[
        float,
        typer.Option(
            "--wait", min=0, metavar="MINUTES", help="If another run uses the root, wait for it up to this long."
        ),
    ] = 0,
    as_json: Json = False,
) -> None:
    """Process all documents in the inbox once. This is the default command."""
    with error_handling(as_json):
        settings = read_settings(config, root=root, jobs=jobs)
        chosen = load_jobs(settings.jobs, job or ())
        stop = Stop(until)
        run_report = _drain(settings, chosen, stop, limit, wait)
        if as_json:
            print_json(run_report.to_dict())
        counts = run_report.summary()
        if stop.signalled:
            raise typer.Exit(INTERRUPTED)
        if counts["failed"] or run_report.faults():
            raise typer.Exit(SOME_FAILED)


def _drain(settings: Settings, jobs: list[Job], stop: Stop, limit: int | None = None, wait: float = 0) -> Any:
    from pipeline.runs.session import Session, open_session

    with (
        open_screen(settings) as screen,
        open_session(
            settings.root, jobs, patience(wait, stop, screen)
        ) as lock,  # before the engine is loaded: there may be only one GPU
        open_engine(settings, screen) as (model, why),
        Session(settings, jobs, model, why, screen, lock) as session,
    ):
        run_report = session.batch(limit, stop)
        screen.report(run_report, settings.root)
    return run_report


def watch(
    root: Root = None,
    config: Config = None,
    jobs: Jobs = None,
    job: Only = None,
    until: Until = None,
    stop_when_idle: Annotated[
        float | None, typer.Option("--stop-when-idle", metavar="MINUTES", help="End after this long without documents.")
    ] = None,
) -> None:
    """Keep the engine loaded and process documents as they arrive, until stopped."""
    with error_handling():
        from operations.systemd_notify import Systemd
        from pipeline.runs.session import Session, open_session
        from pipeline.runs.watch import watch as keep_watching

        settings = read_settings(config, root=root, jobs=jobs)
        chosen, stop, systemd = load_jobs(settings.jobs, job or ()), Stop(until), Systemd()

        def stopped() -> bool:
            """Also pings the systemd watchdog: `stop` is polled wherever work is done."""
            systemd.alive()
            return stop()

        inbox, idle = settings.root / "inbox", settings.idle_unload_minutes
        with (
            open_screen(settings) as screen,
            open_session(settings.root, chosen) as lock,
            open_engine(settings, screen) as (model, why),
            Session(settings, chosen, model, why, screen, lock) as session,
        ):
            screen.note(f"watching {inbox}; stop with Ctrl-C")
            systemd.ready()
            systemd.status(f"watching {inbox}")
            run_reports = keep_watching(
                session,
                inbox,
                stopped,
                settings.poll,
                settings.rescan_s,
                idle and idle * 60,
                stop_when_idle and stop_when_idle * 60,
            )
            for run_report in run_reports:
                screen.report(run_report, settings.root)
                counts = run_report.summary()
                ended = f"{counts['taken']} taken, {counts['done']} done, {counts['failed']} failed"
                systemd.status(f"watching {inbox}; the last batch ended at {datetime.now():%H:%M}: {ended}")
            systemd.stopping()
        if stop.signalled:
            raise typer.Exit(INTERRUPTED)


def retry(
    box: Annotated[
        list[str] | None, typer.Argument(metavar="[INBOX]...", help="Only these inboxes; default: all.")
    ] = None,
    root: Root = None,
    config: Config = None,
) -> None:
    """Move failed documents back to their inbox; the next run processes them again."""
    with error_handling():
        from pipeline.core.suggest import unknown
        from pipeline.inbox.file_queue import Inbox
        from pipeline.system.locks import RootLock

        settings = read_settings(config, root=root)
        known = sorted({path.name for folder in ("inbox", "failed") for path in settings.root.glob(f"{folder}/*/")})
        if wrong := [name for name in box or () if name not in known]:
            raise ConfigError([Fault("retry", None, name, unknown(name, known, "inbox")) for name in wrong])
        with RootLock(settings.root, "retry"):
            moved = Inbox(settings.root, "retry").retry(box)
        for name in moved:
            write_stdout(f"inbox/{sanitize(name)}")
        write_stderr(f"Back in the inbox: {counted(len(moved), 'document')}.")


def demo(
    root: Annotated[
        Path, typer.Option("--root", metavar="DIR", help="Folder for the demo; its contents are deleted first.")
    ] = Path("demo"),
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Process the sample documents in a new folder and compare the results with their labels."""
    with error_handling(as_json):
        from pipeline.evaluation.demo import compare_with_labels, prepare_root, read_records, show_demo

        settings = read_settings(config, root=root, jobs=HERE / "jobs")
        chosen = prepare_root(HERE / "samples", root, load_jobs(settings.jobs))
        run_report = _drain(settings, chosen, Stop(None))
        records = read_records(root, chosen)
        scores = compare_with_labels(HERE / "samples", chosen, records)
        if as_json:
            print_json({**run_report.to_dict(), "truth": {name: each.to_dict() for name, each in scores.items()}})
        else:
            show_demo(root, chosen, records, scores)
