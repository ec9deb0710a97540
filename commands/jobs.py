"""Commands about jobs and what became of them: check, show, new, eval, table, status."""

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
    engine_of,
    errors_told,
    job_named,
    print_json,
    say,
    settings_of,
    tell,
)
from pipeline.core.safe_text import sanitize
from pipeline.evaluation.scoring import show_score
from pipeline.reporting.console import Screen, show_rows
from pipeline.schema.job import load_jobs


def check(root: Root = None, config: Config = None, jobs: Jobs = None, as_json: Json = False) -> None:
    """Look for faults in the settings and in every job, and name them all."""
    with errors_told(as_json):
        settings = settings_of(config, root=root, jobs=jobs)
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
    """Show what a job makes of itself: the prompt, the JSON schema of the answer, the columns of the table."""
    with errors_told(as_json):
        from commands.job_preview import inspect

        view = inspect(job_named(settings_of(config, jobs=jobs), job))
        if as_json:
            print_json(view)
        else:
            say(f"{view['system']}\n\n{view['question']}\n")
            schema = view["schema"]
            form = (
                "The answer is text, of no set form."
                if schema is None
                else simplejson.dumps(schema, ensure_ascii=False, indent=1)
            )
            say(form + "\n")
            show_rows(["column", "type"], view["columns"].items())


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new job's name.")],
    config: Config = None,
    jobs: Jobs = None,
) -> None:
    """Write a commented starter job to jobs/NAME.yaml."""
    with errors_told():
        from pipeline.schema.job_template import write

        settings = settings_of(config, jobs=jobs)
        path = write(settings.jobs, name)
        say(sanitize(path))
        tell(f"Edit it, then: python run_batch.py show {name}; drop scans into {sanitize(settings.root)}/inbox/{name}/")


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
    with errors_told(as_json):
        from pipeline.evaluation import scoring
        from pipeline.evaluation.evaluate import evaluate as measure
        from pipeline.evaluation.labels import read_labels
        from pipeline.preprocessing.page_loader import PageLoader
        from pipeline.runs.session import decoders

        settings = settings_of(config, jobs=jobs)
        asked, truth = job_named(settings, job), read_labels(labels)[:limit]
        with Screen() as screen, engine_of(settings, screen) as (model, _), decoders(settings) as pool:
            pages = PageLoader(pool, settings.limits, settings.passwords)
            score, pictures = measure(asked, truth, model, pages, screen)
        scoring.write_html(score, html, pictures)
        if as_json:
            print_json(score.to_dict())
        else:
            show_score(score)
        tell(f"the worst ten: {sanitize(html)}")


def table(job: JobName, root: Root = None, config: Config = None, jobs: Jobs = None) -> None:
    """Make a job's table again from its JSON records, in every sink of the config."""
    with errors_told():
        from pipeline.storage.job_table import JobTable
        from pipeline.system.locks import RootLock

        settings = settings_of(config, root=root, jobs=jobs)
        with RootLock(settings.root, "table"):
            chosen = job_named(settings, job)
            made = JobTable(settings.root, chosen, sinks=settings.sinks)
            rows = made.rebuild()
        for name in made.sinks:
            say(f"{chosen.name}: {rows} rows in {name}")


def status(root: Root = None, config: Config = None, jobs: Jobs = None, as_json: Json = False) -> None:
    """Say what waits, what is in work, what failed, and how the last run ended."""
    with errors_told(as_json):
        from pipeline.inbox.status import status as look

        settings = settings_of(config, root=root, jobs=jobs)
        view = look(settings.root, load_jobs(settings.jobs))
        if as_json:
            print_json(view)
        else:
            rows = [list(row.values()) for row in view["boxes"]]
            show_rows(["inbox", "jobs", "waiting", "in work", "done", "failed", "duplicate"], rows)
            for note in view["notes"]:
                say(sanitize(note))
