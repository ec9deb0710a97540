"""Score the answers of a job: accuracy for each field and overall, and calibration of the confidence.

labelled = close + wrong + missing. `close` includes the exact values; only texts can be close without being exact.
`invented` values are those where the label says that there is none. A value is right if it is exact, also in F1 and in
the calibration. F1 is micro-averaged: precision is exact / answered, recall is exact / labelled.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.core.types import Record
from pipeline.evaluation.comparison import Check, Unread, check, label_key
from pipeline.evaluation.labels import Label
from pipeline.reporting import html
from pipeline.reporting.console import safe, show_rows, stdout
from pipeline.schema.fields import column, leaves
from pipeline.schema.job import Job
from pipeline.system import filesystem

VERSION = 1
THRESHOLDS = (0.9, 0.7, 0.5)
WORST = 10
MAX_UNUSED_KEYS = 8  # that are listed


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of labelled values. `labelled` = `close` + `wrong` + `missing`; `exact` is part of `close`."""

    labelled: int = 0
    exact: int = 0
    close: int = 0
    wrong: int = 0
    missing: int = 0
    invented: int = 0

    @classmethod
    def of(cls, checks: Iterable[Check]) -> "Tally":
        verdicts: list[str] = [each.verdict for each in checks]
        exact, close, wrong, missing, invented = map(verdicts.count, ("exact", "close", "wrong", "missing", "invented"))
        return cls(exact + close + wrong + missing, exact, exact + close, wrong, missing, invented)

    @property
    def answered(self) -> int:
        return self.close + self.wrong + self.invented

    @property
    def f1(self) -> float | None:
        """None if nothing is labelled and nothing was answered."""
        total = self.answered + self.labelled
        return 2 * self.exact / total if total else None

    @property
    def share(self) -> float | None:
        """The exact share of what is labelled."""
        return self.exact / self.labelled if self.labelled else None

    def to_dict(self) -> dict[str, Any]:
        return {
            "labelled": self.labelled,
            "exact": self.exact,
            "close": self.close,
            "wrong": self.wrong,
            "missing": self.missing,
            "invented": self.invented,
            "exact_share": _rounded(self.share),
            "f1": _rounded(self.f1),
        }


@dataclass(frozen=True, slots=True)
class Calibration:
    """Of `values` answered values, `above` have a confidence of `threshold` or more; `right` of those are exact."""

    kind: str
    threshold: float
    values: int
    above: int
    right: int

    @property
    def right_share(self) -> float | None:
        return self.right / self.above if self.above else None

    @property
    def coverage(self) -> float | None:
        return self.above / self.values if self.values else None

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "threshold": self.threshold,
            "values": self.values,
            "above": self.above,
            "right": self.right,
            "right_share": _rounded(self.right_share),
            "coverage": _rounded(self.coverage),
        }


@dataclass(frozen=True, slots=True)
class DocumentScore:
    """The score of one document. `error` is the code of its DocumentError, or "no answer" without a record."""

    name: str
    checks: tuple[Check, ...]
    unread: tuple[Unread, ...] = ()
    error: str | None = None

    @property
    def faults(self) -> tuple[Check, ...]:
        """All values that are not exact: wrong or invented first, then missing, then close."""
        rank = {"wrong": 0, "invented": 0, "missing": 1, "close": 2}
        return tuple(
            sorted((each for each in self.checks if each.verdict in rank), key=lambda each: rank[each.verdict])
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "file": self.name,
            "error": self.error,
            **Tally.of(self.checks).to_dict(),
            "faults": [
                {
                    "path": each.path,
                    "verdict": each.verdict,
                    "expected": each.expected,
                    "got": each.got,
                    "confidence": _rounded(each.confidence),
                }
                for each in self.faults
            ],
        }


@dataclass(frozen=True, slots=True)
class Score:
    """The score of a job. `columns` is the type of every labelled column, in the order of the job.

    `unlabelled` are columns of the job that no label has, `unused` are label keys without a field.
    """

    job: str
    documents: tuple[DocumentScore, ...]
    columns: Mapping[str, str]
    unlabelled: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    @property
    def checks(self) -> list[Check]:
        return [each for document in self.documents for each in document.checks]

    @property
    def unread(self) -> list[tuple[str, Unread]]:
        """(file, label) of the labels that cannot be parsed as their field's type: reported, not counted."""
        return [(document.name, each) for document in self.documents for each in document.unread]

    @property
    def overall(self) -> Tally:
        return Tally.of(self.checks)

    @property
    def fields(self) -> dict[str, Tally]:
        """The counts of every labelled column, in the order of the job."""
        by_column: dict[str, list[Check]] = {path: [] for path in self.columns}
        for each in self.checks:
            by_column[column(each.path)].append(each)
        return {path: Tally.of(checks) for path, checks in by_column.items()}

    @property
    def calibration(self) -> list[Calibration]:
        """For "all" and for every type: how many values with a confidence of at least .9, .7 and .5 are right."""
        answered = [each for each in self.checks if each.verdict not in ("missing", "empty")]
        kinds = dict.fromkeys(self.columns.values())
        table = []
        for kind in ("all", *kinds):
            of_kind = [each for each in answered if kind in ("all", each.kind)]
            for threshold in THRESHOLDS:
                above = [each for each in of_kind if each.confidence is not None and each.confidence >= threshold]
                right = sum(each.verdict == "exact" for each in above)
                table.append(Calibration(kind, threshold, len(of_kind), len(above), right))
        return table

    def bins(self, count: int = 10) -> list[tuple[float, float, int]]:
        """(mean confidence, share of right values, number of values) for each non-empty bin of the confidence."""
        parts: list[list[Check]] = [[] for _ in range(count)]
        for each in self.checks:
            if each.confidence is not None and each.verdict not in ("missing", "empty"):
                parts[min(count - 1, max(0, int(each.confidence * count)))].append(each)
        return [
            (
                sum(each.confidence or 0.0 for each in part) / len(part),
                sum(each.verdict == "exact" for each in part) / len(part),
                len(part),
            )
            for part in parts
            if part
        ]

    def worst(self, count: int = WORST) -> list[DocumentScore]:
        """The documents with the most wrong, invented and missing values; a close value counts a quarter."""

        def weight(document: DocumentScore) -> float:
            return sum(0.25 if each.verdict == "close" else 1.0 for each in document.faults)

        ranked = sorted((each for each in self.documents if each.faults), key=lambda each: (-weight(each), each.name))
        return ranked[:count]

    def rows(self) -> list[list[str]]:
        """The table of fields for printing: a header, a row for each column, and the row "all"."""
        head = ["field", "type", "labelled", "exact", "close", "missing", "invented", "wrong", "exact %", "F1"]
        lines = [(path, self.columns[path], tally) for path, tally in self.fields.items()]
        table = [head]
        for path, kind, tally in [*lines, ("all", "", self.overall)]:
            counts = (tally.labelled, tally.exact, tally.close, tally.missing, tally.invented, tally.wrong)
            f1 = "–" if tally.f1 is None else f"{tally.f1:.3f}"
            table.append([path, kind, *map(str, counts), html.percent(tally.share), f1])
        return table

    def calibration_rows(self) -> list[list[str]]:
        """The calibration for printing: a header, then for each type the share of right values and the coverage."""
        head = ["type", "values", *(f"right at ≥ {each:g} (share of values)" for each in THRESHOLDS)]
        table = [head]
        cells = self.calibration
        for start in range(0, len(cells), len(THRESHOLDS)):
            part = cells[start : start + len(THRESHOLDS)]
            cells_of_kind = (f"{html.percent(each.right_share)} ({html.percent(each.coverage)})" for each in part)
            table.append([part[0].kind, str(part[0].values), *cells_of_kind])
        return table

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, version 1."""
        return {
            "scanmill": VERSION,
            "kind": "eval",
            "job": self.job,
            "documents": len(self.documents),
            "not_read": sum(each.error is not None for each in self.documents),
            "overall": self.overall.to_dict(),
            "fields": {path: {"type": self.columns[path], **tally.to_dict()} for path, tally in self.fields.items()},
            "calibration": [each.to_dict() for each in self.calibration],
            "worst": [each.to_dict() for each in self.worst()],
            "unread_labels": [{"file": name, "path": each.path, "printed": each.printed} for name, each in self.unread],
            "unlabelled": list(self.unlabelled),
            "unused_label_keys": list(self.unused),
        }


def compare(job: Job, labels: Sequence[Label], records: Sequence[Record | None]) -> Score:
    """Compares records with labels. `records[i]` is the answer to `labels[i]`, or None.

    Labels of other jobs are skipped. Amounts within the job's `tolerance` are equal. Fields that a label does not name
    are not counted; all values of a document that could not be read are missing.
    """
    documents = []
    columns: dict[str, str] = {path: field.type for path, field in leaves(job.fields)}
    used: set[str] = set()
    keys: dict[str, None] = {}
    for label, record in zip(labels, records, strict=True):
        if label.job not in (None, job.name):
            continue
        checks, unread = check(job.fields, label.fields, label.norm, record.data if record else {}, job.tolerance)
        confidence = record.confidence if record else {}
        checks = [replace(each, confidence=confidence.get(each.path)) if each.got else each for each in checks]
        error = "no answer" if record is None else record.error[0] if record.error else None
        documents.append(DocumentScore(label.name, tuple(checks), tuple(unread), error))
        used.update(column(each.path) for each in checks)
        answered = {label_key(name, label.fields) for name in job.fields}
        keys.update(dict.fromkeys(key for key in label.fields if key not in answered))
    return Score(
        job=job.name,
        documents=tuple(documents),
        columns={path: kind for path, kind in columns.items() if path in used},
        unlabelled=tuple(path for path in columns if path not in used),
        unused=tuple(keys),
    )


def write_html(score: Score, path: Path, thumbnails: Mapping[str, bytes] | None = None) -> Path:
    """Write the score as an HTML page. `thumbnails` are small JPEGs of documents by name. Raises StorageError."""
    page = html.render(
        "eval.html",
        {
            "score": score,
            "overall": score.overall,
            "fields": score.fields,
            "calibration": [each for each in score.calibration if each.kind == "all"],
            "calibration_rows": score.calibration_rows(),
            "bins": score.bins(),
            "worst": score.worst(),
            "thumbnails": thumbnails or {},
            "unread": score.unread,
            "not_read": [document for document in score.documents if document.error],
        },
    )
    with filesystem.storing(path):
        path.write_bytes(page.encode())
    return path


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)


def show_score(score: Score) -> None:
    """Print the tables of an evaluation to stdout."""
    for head, *rows in (score.rows(), score.calibration_rows()):
        show_rows(head, rows, right=head[2:])
    if score.unread:
        stdout().print(f"labels that the fields of the job cannot parse (not counted): {len(score.unread)}")
    if score.unlabelled:
        stdout().print(f"fields without labels (not counted): {safe(', '.join(score.unlabelled))}")
    if score.unused:
        more = f" and {len(score.unused) - MAX_UNUSED_KEYS} more" if len(score.unused) > MAX_UNUSED_KEYS else ""
        stdout().print(
            f"label keys without a field in the job: {safe(', '.join(score.unused[:MAX_UNUSED_KEYS]))}{more}"
        )
