"""Commands to deploy and operate Scanmill: bundle, doctor, schedule."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from commands.options import (
    HERE,
    Config,
    Jobs,
    Json,
    Root,
    Until,
    error_handling,
    print_json,
    read_settings,
    write_stderr,
    write_stdout,
)
from pipeline.core.errors import OK, SOME_FAILED, ConfigError
from pipeline.core.safe_text import sanitize
from pipeline.schema.settings import Settings

WAIT_MINUTES = 30  # the watch that the web page starts ends after ten minutes without a question
PIP = "Options for pip wheel after --: --index-url, --constraint, …"


def bundle(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder for the bundle.")],
    pip_options: Annotated[list[str] | None, typer.Argument(metavar="[-- PIP OPTIONS]...", help=PIP)] = None,
    extra: Annotated[
        list[str] | None,
        typer.Option("--extra", metavar="NAME", help="Optional packages to include: gpu, flash, …; may be repeated."),
    ] = None,
    weights: Annotated[Path | None, typer.Option("--weights", metavar="DIR", help="Weights folder to include.")] = None,
    python: Annotated[
        Path | None,
        typer.Option("--python", metavar="FILE", help="Python interpreter to build for; default: this one."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Build a folder to install Scanmill from without a network: wheels with hashes, project, weights, install.sh."""
    with error_handling(as_json):
        from operations.bundle import gather
        from operations.progress import Steps

        chosen = python or Path(sys.executable)
        with Steps() as steps:
            made, own = gather(HERE, folder.absolute(), extra or [], weights, chosen, pip_options or [], steps)
        if as_json:
            files = len(made.files)
            print_json({"scanmill": 1, "bundle": str(folder), "sha256": own, "bytes": made.bytes, "files": files})
        else:
            size, count = f"{made.bytes / 1e6:,.0f} MB", len(made.packages)
            write_stdout(f"{sanitize(folder)}: {len(made.files)} files, {size}, {count} packages")
            write_stdout(f"SHA-256 of its manifest.json: {own}")
        write_stderr(f"On the other machine: sh {sanitize(folder.name)}/install.sh /srv/scanmill")


def schedule(
    at: Annotated[str, typer.Option("--at", metavar="HH:MM", help="Start time of the nightly run.")] = "02:00",
    until: Until = None,
    watching: Annotated[
        bool, typer.Option("--watch", help="Schedule a `watch` that starts at boot instead of a nightly run.")
    ] = False,
    root: Root = None,
    config: Config = None,
    jobs: Jobs = None,
    install: Annotated[bool, typer.Option("--install", help="Install the schedule for this user.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the installed schedule.")] = False,
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="Name of the schedule, to have several on one machine.")
    ] = "scanmill",
) -> None:
    """Print the crontab line and the systemd units for a nightly run, or install them."""
    with error_handling():
        from operations import install_schedule
        from operations.schedule import ScheduledTask, checked, cron_line, units
        from pipeline.runs.session import open_session
        from pipeline.schema.job import load_jobs

        settings = read_settings(config, root=root, jobs=jobs)
        if not remove:
            open_session(
                settings.root, load_jobs(settings.jobs)
            )  # reports faults now instead of at night; takes no lock
        options = [("--root", settings.root), ("--config", config), ("--jobs", jobs)]
        words = [word for option, place in options if place for word in (option, str(place.absolute()))]
        words += ["--until", until] if until else []
        words += [] if watching else ["--wait", str(WAIT_MINUTES)]
        python = Path(sys.executable).absolute()  # inside the virtual environment: the link must not be resolved
        start = (str(python), str(HERE / "run_batch.py"), "watch" if watching else "run")
        plan = checked(
            ScheduledTask(
                name,
                None if watching else at,
                until,
                (*start, *words),
                Path.cwd(),
                (settings.root.absolute(), *([settings.metrics.absolute().parent] if settings.metrics else [])),
                settings.engine_start_s,
                os.environ.get("TZ", "").removeprefix(":"),
            )
        )
        if install or remove:
            done = install_schedule.install(plan) if install else install_schedule.remove(name)
            write_stdout("\n".join(map(sanitize, done)) or "nothing was installed")
            return
        write_stdout(f"# crontab line (crontab -e)\n{cron_line(plan)}")
        for file, text in units(plan).items():
            write_stdout(f"\n# ~/.config/systemd/user/{file}\n{text.rstrip()}")
        write_stderr("Nothing was changed; --install installs it.")


def doctor(
    root: Root = None,
    config: Config = None,
    jobs: Jobs = None,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", metavar="DIR", help="Also verify every file of this bundle.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check that a run can succeed, list faults with their remedies, and forecast the next run. Exits 1 on a fault."""
    with error_handling(as_json):
        from operations.doctor import examine, good_jobs
        from operations.doctor_output import show_forecast, show_results
        from operations.forecast import forecast
        from operations.progress import Steps

        settings: Settings | ConfigError
        try:
            settings = read_settings(config, root=root, jobs=jobs)
        except ConfigError as error:
            settings = error
        with Steps() as steps:
            findings = list(examine(HERE, settings, bundle, steps))
        boxes, pace = ([], None) if isinstance(settings, ConfigError) else forecast(settings, good_jobs(settings))
        if as_json:
            print_json(
                {
                    "scanmill": 1,
                    "findings": [each.to_dict() for each in findings],
                    "tonight": [each.to_dict() for each in boxes],
                    "pace": pace and {"run": pace.run, "pages_per_second": pace.pages_per_second},
                }
            )
        else:
            show_results(findings)
            show_forecast(boxes, pace)
        raise typer.Exit(SOME_FAILED if any(each.state == "fault" for each in findings) else OK)
