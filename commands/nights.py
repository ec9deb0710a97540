"""Commands that keep Scanmill running on a machine of its own: bundle, doctor, schedule."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from commands.wiring import HERE, Config, Jobs, Json, Root, errors_told, print_json, settings_of
from pipeline.errors import OK, SOME_FAILED, ConfigError
from pipeline.settings import Settings

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
        from operations.steps import Steps

        chosen = python or Path(sys.executable)
        with Steps() as steps:
            made, own = gather(HERE, folder.absolute(), extra or [], weights, chosen, pip_options or [], steps)
        if as_json:
            files = len(made.files)
            print_json({"scanmill": 1, "bundle": str(folder), "sha256": own, "bytes": made.bytes, "files": files})
        else:
            size, count = f"{made.bytes / 1e6:,.0f} MB", len(made.packages)
            sys.stdout.write(f"{folder}: {len(made.files)} files, {size}, {count} packages\n")
            sys.stdout.write(f"SHA-256 of its manifest.json: {own}\n")
        sys.stderr.write(f"On the other machine: sh {folder.name}/install.sh /srv/scanmill\n")


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
        from operations.shown import show_findings, show_tonight
        from operations.steps import Steps
        from operations.tonight import tonight

        settings: Settings | ConfigError
        try:
            settings = settings_of(config, root=root, jobs=jobs)
        except ConfigError as error:
            settings = error
        with Steps() as steps:
            findings = list(examine(HERE, settings, bundle, steps))
        boxes, pace = ([], None) if isinstance(settings, ConfigError) else tonight(settings, good_jobs(settings))
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
            show_findings(findings)
            show_tonight(boxes, pace)
        raise typer.Exit(SOME_FAILED if any(each.state == "fault" for each in findings) else OK)
