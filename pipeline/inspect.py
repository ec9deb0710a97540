"""What a job makes of itself, for `run_batch.py show`: prompt, JSON schema of the answer, columns of the table."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline import prompt
from pipeline.columns import schema
from pipeline.job import Job
from pipeline.types import Affine, Document, Page

A4_PX = (1240, 1754)  # the example page, at 150 dpi


def inspect(job: Job) -> dict[str, Any]:
    """Plain JSON: name, digest, system, question, schema, max_new_tokens, columns (name → Arrow type)."""
    question = "(what the person asks)" if job.questions else None
    document = Document("0" * 64, "example.pdf", Path("example.pdf"), job.inbox, datetime.now(UTC), 0, question)
    request = prompt.ask(job, document, (Page(document, 1, *A4_PX, Affine()),))
    return {
        "name": job.name,
        "digest": job.digest,
        "system": request.system,
        "question": request.question,
        "schema": request.schema,
        "max_new_tokens": request.max_new_tokens,
        "columns": {column.name: str(column.type) for column in schema(job)},
    }
