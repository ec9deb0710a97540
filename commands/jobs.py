"""Commands about jobs and their results: check, show, new, eval, table, status."""

from pathlib import Path
from typing import Annotated

import simplejson
import typer

from commands.options import (
    Config,
    JobName,
    Jobs,
    Json,
    Limit,
    Root,
    error_handling,
    find_job,
    open_engine,
    print_json,
    read_settings,
    write_stderr,
    write_stdout,
)
from pipeline.core.safe_text import sanitize
from pipeline.evaluation.scoring import show_score
from pipeline.reporting.console import Screen, show_rows
from pipeline.schema.job import load_jobs


def check(root: Root = None, config: Config = None, jobs: Jobs = None, as_json: Json = False) -> None:
    """Check the config and every job file, and list all faults."""
    with error_handling(as_json):
        settings = read_settings(config, root=root, jobs=jobs)
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
            print_json({"scanmill": 1, "jobs": rows, "faults": []})
        else:
            show_rows(list(rows[0]), [list(row.values()) for row in rows], f"{len(rows)} jobs, no faults")


def show(job: JobName, config: Config = None, jobs: Jobs = None, as_json: Json = False) -> None:
    """Show the prompt of a job, the JSON schema of its answer, and the columns of its table."""
    with error_handling(as_json):
        from commands.job_preview import preview

        view = preview(find_job(read_settings(config, jobs=jobs), job))
        if as_json:
            print_json(view)
        else:
            write_stdout(f"{view['system']}\n\n{view['question']}\n")
            schema = view["schema"]
            form = (
                "The answer is free text." if schema is None else simplejson.dumps(schema, ensure_ascii=False, indent=1)
            )
            write_stdout(form + "\n")
            show_rows(["column", "type"], view["columns"].items())


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new job.")],
    config: Config = None,
    jobs: Jobs = None,
) -> None:
    """Create jobs/NAME.yaml, a job file with comments to start from."""
    with error_handling():
        from pipeline.schema.job_template import write

        settings = read_settings(config, jobs=jobs)
        path = write(settings.jobs, name)
        write_stdout(sanitize(path))
        write_stderr(
            f"Edit it, then: python run_batch.py show {name}; drop scans into {sanitize(settings.root)}/inbox/{name}/"
        )


def evaluate(
    job: JobName,
    labels: Annotated[
        Path,
        typer.Argument(metavar="LABELS.jsonl", help="Labels, one JSON object per line with file, fields and norm."),
    ],
    config: Config = None,
    jobs: Jobs = None,
    limit: Limit = None,
    html: Annotated[
        Path,
        typer.Option("--html", metavar="FILE", help="Write an HTML page with the ten worst documents to this file."),
    ] = Path("eval.html"),
    as_json: Json = False,
) -> None:
    """Measure the accuracy of a job on labelled files: counts for each field, and the calibration of its confidence."""
    with error_handling(as_json):
        from pipeline.evaluation import scoring
        from pipeline.evaluation.evaluate import evaluate as measure
        from pipeline.evaluation.labels import read_labels
        from pipeline.preprocessing.page_loader import PageLoader
        from pipeline.runs.session import decoders

        settings = read_settings(config, jobs=jobs)
        chosen, truth = find_job(settings, job), read_labels(labels)[:limit]
        with Screen() as screen, open_engine(settings, screen) as (model, _), decoders(settings) as pool:
            pages = PageLoader(pool, settings.limits, settings.passwords)
            score, pictures = measure(chosen, truth, model, pages, screen)
        scoring.write_html(score, html, pictures)
        if as_json:
            print_json(score.to_dict())
        else:
            show_score(score)
        write_stderr(f"ten worst documents: {sanitize(html)}")


def table(job: JobName, root: Root = None, config: Config = None, jobs: Jobs = None) -> None:
    """Rebuild the table of a job from its JSON records, in every sink of the config."""
    with error_handling():
        from pipeline.storage.job_table import JobTable
        from pipeline.system.locks import RootLock

        settings = read_settings(config, root=root, jobs=jobs)
        with RootLock(settings.root, "table"):
            chosen = find_job(settings, job)
            rebuilt = JobTable(settings.root, chosen, sinks=settings.sinks)
            rows = rebuilt.rebuild()
        for name in rebuilt.sinks:
            write_stdout(f"{chosen.name}: {rows} rows in {name}")


def status(root: Root = None, config: Config = None, jobs: Jobs = None, as_json: Json = False) -> None:
    """Show how many documents wait, are in progress or failed, and how the last run ended."""
    with error_handling(as_json):
        from pipeline.inbox.status import status as read_status

        settings = read_settings(config, root=root, jobs=jobs)
        view = read_status(settings.root, load_jobs(settings.jobs))
        if as_json:
            print_json(view)
        else:
            rows = [list(row.values()) for row in view["boxes"]]
            show_rows(["inbox", "jobs", "waiting", "in progress", "done", "failed", "duplicate"], rows)
            for note in view["notes"]:
                write_stdout(sanitize(note))
