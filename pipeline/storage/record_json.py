"""Conversion of records to and from JSON, with exact decimals and every byte of a file name.

```json
{"job", "page", "day", "status", "processed_at", "files": ["files/…"],
 "document": {"id", "name", "inbox", "received_at", "size_bytes"},
 "pages", "data": {…}, "fields": {"lines[0].amount": {"confidence", "page", "box": [x, y, width, height], "printed"}},
 "issues": [{"code", "path", "message"}], "error": {"code", "detail", "cause", "cure"} or null, "provenance": {…},
 "other_look": {"pages", "data", "fields", "issues", "error", "provenance"} or null}
```
Reviewed records add "corrections": [{"path", "machine", "person", "at", "by"}] and "approved": {"at", "by"}.
`other_look` is the rejected answer of a job with a second pass; `provenance.look` is the number of the accepted pass.
Documents with a question add `question`, `earlier` ([{"question", "answer"}]) and `pictures`.
`files` are the attachments, as paths from the root.
Boxes are in source pixels. Dates and times are ISO 8601; amounts are numbers with every digit that was read. A byte of
a name that is not UTF-8 is written as the escape \\udcXX, which Python's json module reads back.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import simplejson

from pipeline.core.geometry import Box
from pipeline.core.safe_text import json_text
from pipeline.core.types import Approval, Correction, Document, Evidence, Issue, Record
from pipeline.plugins.formats import explain_error
from pipeline.schema import record_check

if TYPE_CHECKING:
    from pipeline.schema.job import Job


def to_json(record: Record) -> str:
    """The record as JSON text that ends in a line feed. Raises TypeError for values that no field type produces."""
    document = record.document
    content = {
        "job": record.job,
        "page": record.page,
        "day": record.day,
        "status": record.status,
        "processed_at": record.processed_at,
        "files": record.files,
        "document": {
            "id": document.id,
            "name": document.name,
            "inbox": document.inbox,
            "received_at": document.received_at,
            "size_bytes": document.size_bytes,
            **_question(document),
        },
        **_answer(record),
        "other_look": record.other_look and _answer(record.other_look),
        **_review(record),
    }
    text = simplejson.dumps(content, indent=1, ensure_ascii=False, use_decimal=True, ignore_nan=True, default=_plain)
    return json_text(text) + "\n"


def from_json(text: str, job: "Job | None" = None) -> Record:
    """The record. With `job`, values have the types of its fields; a value that no longer fits is None, and a record
    that was read under another form of the job is checked again (`record_check.recheck`).

    Without `job`, dates and times stay text and numbers with a decimal point are Decimal. `document.path` is empty: the
    JSON does not hold the location of the original. Raises ValueError, KeyError or TypeError for an invalid record.
    """
    try:
        return _read(simplejson.loads(text, use_decimal=True), job)
    except (AttributeError, ArithmeticError, RecursionError) as error:  # JSON, but of another form
        raise ValueError(f"not a record: {error}") from error


def _read(content: Mapping[str, Any], job: "Job | None") -> Record:
    given = content["document"]
    document = Document(
        given["id"],
        given["name"],
        Path(),
        given["inbox"],
        datetime.fromisoformat(given["received_at"]),
        given["size_bytes"],
        given.get("question"),
        tuple((turn["question"], turn["answer"]) for turn in given.get("earlier", ())),
        tuple(Path(name) for name in given.get("pictures", ())),
    )
    record = _read_answer(document, content["job"], content["page"], content, job)
    other = content.get("other_look")
    record = replace(
        record,
        day=content["day"] and date.fromisoformat(content["day"]),
        processed_at=content["processed_at"] and datetime.fromisoformat(content["processed_at"]),
        other_look=other and _read_answer(document, record.job, record.page, other, job),
        corrections=tuple(
            Correction(**each | {"at": datetime.fromisoformat(each["at"])}) for each in content.get("corrections", ())
        ),
        files=tuple(content.get("files", ())),
        approved=(seen := content.get("approved")) and Approval(datetime.fromisoformat(seen["at"]), seen["by"]),
    )
    return record_check.recheck(record, job, content["data"]) if job else record


def _answer(record: Record) -> dict[str, Any]:
    """The parts of a record that differ between the first and the second pass."""
    return {
        "pages": record.pages,
        "data": record.data,
        "fields": {path: _leaf(record, path) for path in dict.fromkeys((*record.confidence, *record.evidence))},
        "issues": [{"code": issue.code, "path": issue.path, "message": issue.message} for issue in record.issues],
        "error": record.error and _error(*record.error),
        "provenance": record.provenance,
    }


def _read_answer(
    document: Document, name: str, page: int | None, answer: Mapping[str, Any], job: "Job | None"
) -> Record:
    leaves = answer["fields"]
    return Record(
        document=document,
        job=name,
        page=page,
        pages=tuple(answer["pages"]),
        data=answer["data"] if job is None else _typed(answer["data"], job),
        confidence={path: float(leaf["confidence"]) for path, leaf in leaves.items() if leaf["confidence"] is not None},
        evidence={path: _evidence(leaf) for path, leaf in leaves.items() if leaf["page"] is not None},
        issues=tuple(Issue(**issue) for issue in answer["issues"]),
        error=answer["error"] and (answer["error"]["code"], answer["error"]["detail"]),
        provenance=answer["provenance"],
    )


def _review(record: Record) -> dict[str, Any]:
    """Manual corrections and approval; no keys without them."""
    found: dict[str, Any] = {}
    if record.corrections:
        found["corrections"] = [
            {"path": each.path, "machine": each.machine, "person": each.person, "at": each.at, "by": each.by}
            for each in record.corrections
        ]
    if record.approved:
        found["approved"] = {"at": record.approved.at, "by": record.approved.by}
    return found


def _question(document: Document) -> dict[str, Any]:
    if document.question is None:
        return {}
    return {
        "question": document.question,
        "earlier": [{"question": question, "answer": answer} for question, answer in document.earlier],
        "pictures": [str(part.relative_to(document.path)) for part in document.parts],
    }


def _leaf(record: Record, path: str) -> dict[str, Any]:
    seen = record.evidence.get(path)
    box = seen and seen.box
    return {
        "confidence": record.confidence.get(path),
        "page": seen and seen.page,
        "box": box and [box.x, box.y, box.width, box.height],
        "printed": seen and seen.text,
    }


def _evidence(leaf: Mapping[str, Any]) -> Evidence:
    box = leaf["box"] and Box(*(float(side) for side in leaf["box"]))
    return Evidence(leaf["page"], box, leaf["printed"])


def _error(code: str, detail: str) -> dict[str, str]:
    known = explain_error(code)
    return {"code": code, "detail": detail, "cause": known.cause, "cure": known.cure}


def _typed(data: Mapping[str, Any], job: "Job") -> dict[str, Any]:
    from pipeline.schema.fields import column_types
    from pipeline.storage.arrow_schema import fitter

    if not data:
        return {}
    return {name: fitter(kind)(data.get(name)) for name, kind in column_types(job.fields)}


def _plain(value: Any) -> Any:
    if isinstance(value, date | time):  # datetime is a date
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    if hasattr(value, "item"):  # a numpy scalar from an engine's confidence
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be stored in a record: {value!r}")
