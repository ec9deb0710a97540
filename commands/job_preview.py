"""Preview a job for `run_batch.py show`: its prompt, the JSON schema of the answer, the columns of its table."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.core.geometry import Affine
from pipeline.core.types import Document, Page
from pipeline.extraction import prompt
from pipeline.schema.job import Job
from pipeline.storage.arrow_schema import schema

A4_PX = (840, 1176)  # the example page: A4 as Qwen2.5-VL sees it, in 1,260 cells of 28 pixels
BETWEEN = "\n\n---- next region, as a request of its own with its own picture:\n\n"


def preview(job: Job) -> dict[str, Any]:
    """Plain JSON: name, digest, system, question, schema, max_new_tokens, columns (name → Arrow type).

    A job with regions has one question for each; `question` joins them. `schema` covers all fields.
    """
    question = "(the question of the user)" if job.questions else None
    document = Document("0" * 64, "example.pdf", Path("example.pdf"), job.inbox, datetime.now(UTC), 0, question)
    page = Page(1, *A4_PX, Affine())
    request = prompt.ask(job, document, (page,))
    parts = [prompt.ask(part, document, (page,)) for part in job.parts]
    return {
        "name": job.name,
        "digest": job.digest,
        "system": request.system,
        "question": BETWEEN.join(part.question for part in parts),
        "schema": request.schema,
        "max_new_tokens": request.max_new_tokens,
        "columns": {column.name: str(column.type) for column in schema(job)},
    }
