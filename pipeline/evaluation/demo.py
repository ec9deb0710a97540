"""The demo: process the sample documents with the normal pipeline and compare the results with their labels."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.core.errors import ConfigError, Fault
from pipeline.core.types import Record
from pipeline.evaluation.labels import read_labels
from pipeline.evaluation.scoring import Score, compare
from pipeline.reporting.console import safe, show_records, show_rows, stdout
from pipeline.schema.job import Job
from pipeline.storage.record_store import RecordStore
from pipeline.system.filesystem import folder

MARKER = ".scanmill-demo"


def prepare_root(samples: Path, root: Path, jobs: Sequence[Job]) -> list[Job]:
    """Empties `root` and copies the samples into its inbox; returns the jobs that have samples.

    Raises ConfigError if `root` is not empty and was not made by a demo: no other files are deleted.
    """
    if root.is_dir() and any(root.iterdir()) and not (root / MARKER).is_file():
        raise ConfigError(
            [Fault(str(root), None, "--root", "holds files that are not from a demo; name an empty folder")]
        )
    if root.is_dir():
        shutil.rmtree(root)
    root.mkdir(parents=True, mode=0o700)
    (root / MARKER).write_text("This folder was made by `run_batch.py demo`, which empties it at each start.\n")
    chosen = [job for job in jobs if (samples / job.inbox).is_dir()]
    for box in {job.inbox for job in chosen}:
        for path in sorted((samples / box).iterdir()):
            shutil.copyfile(path, folder(root, "inbox", box) / path.name)
    return chosen


def read_records(root: Path, jobs: Sequence[Job]) -> dict[str, list[Record]]:
    """The records of each job under `root`, by document name."""
    store = RecordStore(root)
    return {
        job.name: sorted(
            (record for _, day in store.days(job) for record in day), key=lambda record: record.document.name
        )
        for job in jobs
    }


def compare_with_labels(
    samples: Path, jobs: Sequence[Job], records: Mapping[str, Sequence[Record]]
) -> dict[str, Score]:
    """The score of each job with answers against samples/truth.jsonl. Other jobs need another engine.

    Plain text that an engine returns instead of an answer (issue `only_read`) is not compared.
    """
    labels = [label for label in read_labels(samples / "truth.jsonl") if label.job]
    scores = {}
    for job in (job for job in jobs if any(_answers(record) for record in records[job.name])):
        by_name = {f"{record.document.inbox}/{record.document.name}": record for record in records[job.name]}
        of_job = [label for label in labels if label.job == job.name]
        scores[job.name] = compare(job, of_job, [by_name.get(label.name) for label in of_job])
    return scores


def _answers(record: Record) -> bool:
    return all(issue.code != "only_read" for issue in record.issues)


def show_demo(
    root: Path, jobs: Sequence[Job], records: Mapping[str, Sequence[Record]], scores: Mapping[str, Score]
) -> None:
    """Print the records, their accuracy, and the paths of all results to stdout."""
    out = stdout()
    for job in (job for job in jobs if records[job.name]):
        show_records(job, records[job.name])
    rows = []
    for name, score in scores.items():
        all_ = score.overall
        counts = (all_.labelled, all_.exact, all_.close - all_.exact, all_.missing, all_.wrong, all_.invented)
        rows.append([name, len(score.documents), *counts])
    head = ["job", "documents", "values", "right", "close", "missing", "wrong", "invented"]
    show_rows(head, rows, "compared with samples/truth.jsonl", right=head[1:])
    first = max(jobs, key=lambda job: len(records[job.name])).name
    out.print(f"Parquet  {safe(root)}/results/<job>/<day>.parquet")
    out.print(f"JSON     {safe(root)}/records/<job>/<id>.json")
    out.print(f"report   {safe(next(iter(sorted((root / 'runs').glob('*.html'), reverse=True)), root / 'runs'))}")
    out.print("\nOpen a table:\n")
    place = str(root / "results" / first)
    out.print(f"    import pandas as pd\n    table = pd.read_parquet({place!r})\n    print(table.head())", markup=False)
