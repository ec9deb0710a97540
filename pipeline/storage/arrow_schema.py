"""The Arrow schema of a job's table, and the conversion of a record to one row.

Column order: document and page, status and times, the job's fields, `confidence` and `evidence` in the shape of the
fields, issues, error and provenance. A value that does not fit its column, because the job changed, is null in the
table; the record keeps it.
"""

import functools
import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from pipeline.core.types import Evidence, Record
from pipeline.schema.fields import Field, column_names, column_types, fold, map_leaves
from pipeline.system.filesystem import printable

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.schema.job import Job

JOB_KEY, DIGEST_KEY = b"scanmill.job", b"scanmill.columns"  # in the metadata of every Parquet file
Fit = Callable[[Any], Any]
_BITS = {"int8": 7, "int16": 15, "int32": 31, "int64": 63}


def schema(job: "Job") -> "pa.Schema":
    """The columns of a job's table. The metadata hold the job's name and a digest.

    The digest changes with the job, not only with its columns: rows are checked by the current job (`record_check`).
    """
    import pyarrow as pa

    moment, text = pa.timestamp("us", tz="UTC"), pa.string()
    place = pa.struct(
        [("page", pa.int32()), *((side, pa.float64()) for side in ("x", "y", "width", "height")), ("text", text)]
    )
    columns = pa.schema(
        [
            ("document_id", text),
            ("source", text),
            *([("question", text)] if job.questions else []),
            ("page", pa.int32()),
            ("pages", pa.list_(pa.int32())),
            ("status", text),
            ("received_at", moment),
            ("processed_at", moment),
            *column_types(job.fields),
            ("confidence", _mirror(job.fields, pa.float64())),
            ("evidence", _mirror(job.fields, place)),
            ("issues", pa.list_(pa.struct([("code", text), ("path", text), ("message", text)]))),
            ("error", pa.struct([("code", text), ("detail", text)])),
            ("files", pa.list_(text)),
            ("engine", text),
            ("job_digest", text),
            ("run", text),
        ]
    )
    content = "\n".join([job.digest, *(f"{column.name}: {column.type}" for column in columns)])
    return columns.with_metadata(
        {JOB_KEY: job.name.encode(), DIGEST_KEY: hashlib.sha256(content.encode()).hexdigest().encode()}
    )


def digest(columns: "pa.Schema") -> str:
    """The hex digest in the metadata of `schema`: a table with another one must be rebuilt."""
    value: bytes = columns.metadata[DIGEST_KEY]
    return value.decode()


def arrow(rows: Iterable[Mapping[str, Any]], columns: "pa.Schema") -> "pa.Table":
    """An Arrow table of the rows that the function from `rows` returns."""
    import pyarrow as pa

    return pa.Table.from_pylist(list(rows), schema=columns)


def rows(job: "Job", columns: "pa.Schema") -> Callable[[Record], dict[str, Any]]:
    """A function from a record to its row: Python values that fit `columns`, the schema of the job."""
    fits = {column.name: fitter(column.type) for column in columns}
    fields = job.fields

    def row(record: Record) -> dict[str, Any]:
        evidence = {path: _place(seen) for path, seen in record.evidence.items()}
        values: dict[str, Any] = {
            "document_id": record.document.id,
            "source": record.document.name,
            "question": record.document.question,
            "page": record.page,
            "pages": record.pages,
            "status": record.status,
            "received_at": record.document.received_at,
            "processed_at": record.processed_at,
            **{name: record.data.get(name) for name in column_names(fields)},
            "confidence": _mirrored(fields, record.data, record.confidence),
            "evidence": _mirrored(fields, record.data, evidence),
            "issues": [{"code": issue.code, "path": issue.path, "message": issue.message} for issue in record.issues],
            "files": record.files,
            "error": record.error and {"code": record.error[0], "detail": record.error[1]},
            **{name: record.provenance.get(name) for name in ("engine", "job_digest", "run")},
        }
        return {name: fit(values[name]) for name, fit in fits.items()}

    return row


@functools.lru_cache(maxsize=1000)  # from_json asks for the same few types for every record
def fitter(kind: "pa.DataType") -> Fit:
    """A function that converts a typed or JSON value to this column type; None where it does not fit.

    A lone surrogate (a byte of a file name) becomes U+FFFD: columns are UTF-8.
    """
    import pyarrow.types as kinds

    if kinds.is_struct(kind):
        inner = {each.name: fitter(each.type) for each in kind}
        return lambda value: (
            {name: fit(value.get(name)) for name, fit in inner.items()} if isinstance(value, Mapping) else None
        )
    if kinds.is_list(kind):
        each = fitter(kind.value_type)
        return lambda value: [each(one) for one in value] if isinstance(value, list | tuple) else None
    if kinds.is_string(kind):
        return lambda value: printable(value) if isinstance(value, str) else None
    if kinds.is_boolean(kind):
        return lambda value: value if isinstance(value, bool) else None
    moments = ((kinds.is_date, date), (kinds.is_time, time), (kinds.is_timestamp, datetime))
    if type_ := next((type_ for is_kind, type_ in moments if is_kind(kind)), None):
        return functools.partial(_moment, type_=type_)
    if kinds.is_floating(kind):
        return lambda value: float(value) if _is_number(value) else None
    if kinds.is_integer(kind):
        return functools.partial(_whole, limit=2 ** _BITS[str(kind)])
    if kinds.is_decimal(kind):
        return functools.partial(_exact, step=Decimal(1).scaleb(-kind.scale), digits=kind.precision)
    raise TypeError(f"no field has columns of type {kind}")


def _moment(value: Any, type_: type[date] | type[time]) -> Any:
    if isinstance(value, str):
        try:
            return type_.fromisoformat(value)
        except ValueError:
            return None
    if type_ is date and isinstance(value, datetime):
        return value.date()
    if type_ is time and isinstance(value, time):
        return value.replace(microsecond=0, tzinfo=None)
    return value if isinstance(value, type_) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: Any, limit: int) -> int | None:
    return int(value) if _is_number(value) and int(value) == value and abs(value) < limit else None


def _exact(value: Any, step: Decimal, digits: int) -> Decimal | None:
    if not _is_number(value):
        return None
    exact = Decimal(str(value))
    try:
        kept = exact.quantize(step)
    except InvalidOperation:
        return None
    return kept if kept == exact and len(kept.as_tuple().digits) <= digits else None


def _place(seen: Evidence) -> dict[str, Any]:
    place: dict[str, Any] = {"page": seen.page, "text": seen.text}
    if seen.box is not None:
        place |= {"x": seen.box.x, "y": seen.box.y, "width": seen.box.width, "height": seen.box.height}
    return place


def _mirror(fields: Mapping[str, Field], leaf: "pa.DataType") -> "pa.DataType":
    """A type in the shape of the fields, with `leaf` for every value. A job and a group have at least one field."""
    import pyarrow as pa

    return fold(fields, lambda _: leaf, lambda parts: pa.struct(list(parts.items())), pa.list_)


def _mirrored(fields: Mapping[str, Field], data: Any, known: Mapping[str, Any]) -> dict[str, Any] | None:
    """`known`, by leaf path, in the shape of `_mirror`. Lists have as many rows as in the data."""
    return map_leaves(fields, data, lambda path, *_: known.get(path)) if known else None
