"""Commands that read documents or move them: run, watch, retry, demo."""

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
    engine_of,
    errors_told,
    patience,
    print_json,
    say,
    screen_of,
    settings_of,
    tell,
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
        float, typer.Option("--wait", min=0, metavar="MINUTES", help="Where another run holds the folder, wait for it.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Drain the inbox once. This is what `run_batch.py` alone does."""
    with errors_told(as_json):
        settings = settings_of(config, root=root, jobs=jobs)
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
        screen_of(settings) as screen,
        open_session(settings.root, jobs, patience(wait, stop, screen)) as lock,  # before the engine: there is one card
        engine_of(settings, screen) as (model, why),
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
        float | None, typer.Option("--stop-when-idle", metavar="MINUTES", help="End after so long without work.")
    ] = None,
) -> None:
    """Keep the engine warm and read whatever is dropped, until stopped."""
    with errors_told():
        from operations.systemd_notify import Systemd
        from pipeline.runs.session import Session, open_session
        from pipeline.runs.watch import watch as keep_watching

        settings = settings_of(config, root=root, jobs=jobs)
        chosen, stop, systemd = load_jobs(settings.jobs, job or ()), Stop(until), Systemd()

        def stopped() -> bool:
            """Asked wherever work goes on, so that being asked is a sign of life."""
            systemd.alive()
            return stop()

        inbox, idle = settings.root / "inbox", settings.idle_unload_minutes
        with (
            screen_of(settings) as screen,
            open_session(settings.root, chosen) as lock,
            engine_of(settings, screen) as (model, why),
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
    box: Annotated[list[str] | None, typer.Argument(metavar="[BOX]...", help="Only these inboxes.")] = None,
    root: Root = None,
    config: Config = None,
) -> None:
    """Move failed documents back into their inbox, to be read again at the next run."""
    with errors_told():
        from pipeline.core.suggest import unknown
        from pipeline.inbox.file_queue import Inbox
        from pipeline.system.locks import RootLock

        settings = settings_of(config, root=root)
        places = [*settings.root.glob("inbox/*/"), *settings.root.glob("failed/*/")]
        known = sorted({place.name for place in places})
        if wrong := [name for name in box or () if name not in known]:
            raise ConfigError([Fault("retry", None, name, unknown(name, known, "inbox")) for name in wrong])
        with RootLock(settings.root, "retry"):
            moved = Inbox(settings.root, "retry").retry(box)
        for name in moved:
            say(f"inbox/{sanitize(name)}")
        tell(f"Back in the inbox: {counted(len(moved), 'document')}.")


def demo(
    root: Annotated[
        Path, typer.Option("--root", metavar="DIR", help="Where to put the demo; it is emptied first.")
    ] = Path("demo"),
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Read the sample documents into a fresh folder and compare with what they truly say."""
    with errors_told(as_json):
        from pipeline.evaluation.demo import compare_with_truth, lay_out, read_back, show_demo

        settings = settings_of(config, root=root, jobs=HERE / "jobs")
        chosen = lay_out(HERE / "samples", root, load_jobs(settings.jobs))
        run_report = _drain(settings, chosen, Stop(None))
        records = read_back(root, chosen)
        scores = compare_with_truth(HERE / "samples", chosen, records)
        if as_json:
            print_json({**run_report.to_dict(), "truth": {name: each.to_dict() for name, each in scores.items()}})
        else:
            show_demo(root, chosen, records, scores)
