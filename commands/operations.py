"""Commands that keep Scanmill running on a machine of its own: bundle, doctor, schedule."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from commands.options import HERE, Config, Jobs, Json, Root, Until, errors_told, print_json, say, settings_of, tell
from pipeline.core.errors import OK, SOME_FAILED, ConfigError
from pipeline.core.safe_text import sanitize
from pipeline.schema.settings import Settings

WAIT_MINUTES = 30  # the page's own watch ends after ten minutes without a question
PIP = "What follows -- goes to pip wheel: --index-url, --constraint, …"


def bundle(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The new folder for the bundle.")],
    pip_options: Annotated[list[str] | None, typer.Argument(metavar="[-- PIP OPTIONS]...", help=PIP)] = None,
    extra: Annotated[
        list[str] | None,
        typer.Option("--extra", metavar="NAME", help="Packages beyond the base: gpu, flash, …; may be repeated."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", metavar="DIR", help="A weights folder to take along.")
    ] = None,
    python: Annotated[
        Path | None, typer.Option("--python", metavar="FILE", help="The Python to gather for; else this one.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Gather all that a machine without a network needs: wheels with hashes, the project, weights, install.sh."""
    with errors_told(as_json):
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
            say(f"{sanitize(folder)}: {len(made.files)} files, {size}, {count} packages")
            say(f"SHA-256 of its manifest.json: {own}")
        tell(f"On the other machine: sh {sanitize(folder.name)}/install.sh /srv/scanmill")


def schedule(
    at: Annotated[str, typer.Option("--at", metavar="HH:MM", help="When the run starts every night.")] = "02:00",
    until: Until = None,
    watching: Annotated[
        bool, typer.Option("--watch", help="Not at a time: a watch that always runs, and starts with the machine.")
    ] = False,
    root: Root = None,
    config: Config = None,
    jobs: Jobs = None,
    install: Annotated[bool, typer.Option("--install", help="Put it in place for this user.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take it away again.")] = False,
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="Tells several of them on one machine apart.")
    ] = "scanmill",
) -> None:
    """Print the line for cron and the units for systemd that start a run every night, or put them in place."""
    with errors_told():
        from operations import install_schedule
        from operations.schedule import ScheduledTask, checked, cron_line, units
        from pipeline.runs.session import open_session
        from pipeline.schema.job import load_jobs

        settings = settings_of(config, root=root, jobs=jobs)
        if not remove:
            open_session(
                settings.root, load_jobs(settings.jobs)
            )  # not taken: what the night would stumble over is told now
        options = [("--root", settings.root), ("--config", config), ("--jobs", jobs)]
        words = [word for option, place in options if place for word in (option, str(place.absolute()))]
        words += ["--until", until] if until else []
        words += [] if watching else ["--wait", str(WAIT_MINUTES)]
        python = Path(sys.executable).absolute()  # the virtual environment's own name of it, never what it links to
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
            say("\n".join(map(sanitize, done)) or "nothing was there")
            return
        say(f"# a line for cron (crontab -e)\n{cron_line(plan)}")
        for file, text in units(plan).items():
            say(f"\n# ~/.config/systemd/user/{file}\n{text.rstrip()}")
        tell("Nothing was changed; --install puts it in place.")


def doctor(
    root: Root = None,
    config: Config = None,
    jobs: Jobs = None,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", metavar="DIR", help="Verify this bundle too, every byte of it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say whether all is well for tonight, what to do where not, and what a run would do. Exits 1 on any fault."""
    with errors_told(as_json):
        from operations.doctor import examine, good_jobs
        from operations.doctor_output import show_forecast, show_results
        from operations.forecast import forecast
        from operations.progress import Steps

        settings: Settings | ConfigError
        try:
            settings = settings_of(config, root=root, jobs=jobs)
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
