"""All records of a root as one flat table, read from the Parquet files; filtering and sorting.

Each file is cached until it changes, so that a list of 20,000 records opens at once.
"""

import functools
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import DOCUMENT_ERRORS
from pipeline.core.types import Status
from web.data.conversations import QUESTION_NAME

if TYPE_CHECKING:
    import pyarrow as pa

CACHED_FILES = 2000
SUMMARY_VALUES = 3  # first values of a record, shown in the list
# Job keys at the end of issue messages, of no interest to reviewers.
JOB_KEYS = r" \((?:review_below|max_length|minimum|maximum)\)"
_COLUMNS = dict.fromkeys(("job", "day", "document_id", "source", "status", "issue", "summary", "text"), "string") | {
    "page": "int32",
    "confidence": "float64",
    "issues": "int32",
}
# Errors while reading a file that is damaged or not a result table. A broken disk is among them.
_UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, NotImplementedError)
_RANK: dict[Status, int] = {"failed": 0, "review": 1, "ok": 2}


@dataclass(frozen=True)
class Filter:
    """A filter of the list; empty strings match everything. `text` is searched in names, values and issues."""

    job: str = ""
    status: str = ""
    day: str = ""
    text: str = ""


@dataclass(frozen=True)
class Records:
    """The records as a table, and the result files that could not be read.

    The columns are job, day, document_id, page, source, status, confidence (the lowest of a record), issues (their
    number), issue (the first message), summary (the first values) and text (for searching, in lower case).
    """

    table: "pa.Table"
    skipped: tuple[Path, ...]


def load_records(root: Path) -> Records:
    """One row per record of all jobs, without the private questions of the Ask page."""
    import pyarrow as pa

    tables, skipped = [], []
    for path in sorted((root / "results").glob("*/*.parquet")):
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):  # opening a pipe would block
                raise ValueError("not a regular file")
            tables.append(_flat(path, found.st_mtime_ns, found.st_size))
        except FileNotFoundError:
            continue  # a run is replacing the file; the next call reads it
        except _UNREADABLE:
            skipped.append(path)
    empty = pa.table({name: pa.array([], kind) for name, kind in _COLUMNS.items()})
    return Records(pa.concat_tables(tables) if tables else empty, tuple(skipped))


def filter_records(table: "pa.Table", only: Filter) -> "pa.Table":
    """The matching rows: failed first, then those for review by rising confidence, then the newest."""
    import pyarrow as pa
    import pyarrow.compute as pc

    masks = [pc.equal(table[name], value) for name, value in (("job", only.job), ("status", only.status)) if value]
    if only.day:
        masks.append(pc.equal(table["day"], only.day))
    for word in only.text.lower().split():
        masks.append(pc.match_substring(table["text"], word))
    if masks:
        table = table.filter(functools.reduce(pc.and_, masks))
    rank = pc.index_in(table["status"], pa.array(sorted(_RANK, key=lambda status: _RANK[status])))
    table = table.append_column("rank", rank)
    order = [("rank", "ascending"), ("confidence", "ascending"), ("day", "descending"), ("source", "ascending")]
    return table.sort_by(order).drop_columns("rank")


@functools.lru_cache(maxsize=CACHED_FILES)
def _flat(path: Path, changed: int, size: int) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with open(path, "rb") as file:
        table = pq.read_table(file)
    names = table.column_names
    if "question" in names[: names.index("page")]:  # the job answers questions; see conversations.private
        table = table.filter(pc.invert(pc.match_substring_regex(table["source"], QUESTION_NAME)))
    count = table.num_rows
    fields = names[names.index("processed_at") + 1 : names.index("confidence")]
    columns = [_as_text(table[name].combine_chunks()) for name in fields]
    texts = [column for column in columns if column is not None]
    first = [pc.utf8_slice_codeunits(each, 0, 60) for each in texts[:SUMMARY_VALUES]]
    issues = table["issues"].combine_chunks()
    counts = pc.fill_null(pc.list_value_length(issues), 0)
    each = pc.list_flatten(issues)
    messages = _joined([pc.struct_field(each, "path"), pc.struct_field(each, "message")], ": ", len(each))
    first_message = _first_of_each(messages, pc.list_parent_indices(issues), count)
    error = pc.struct_field(table["error"].combine_chunks(), "code")
    for code, known in DOCUMENT_ERRORS.items():
        error = pc.if_else(pc.equal(error, code), known.cause, error)
    issue = pc.coalesce(pc.replace_substring_regex(first_message, JOB_KEYS, ""), error, pa.scalar(""))
    searched = [table["source"].combine_chunks(), issue, *texts]
    return pa.table(
        {
            "job": pa.array([path.parent.name] * count, pa.string()),
            "day": pa.array([path.stem] * count, pa.string()),
            **{
                name: pc.cast(table[name].combine_chunks(), _COLUMNS[name])
                for name in ("document_id", "page", "source", "status")
            },
            "confidence": _lowest(table["confidence"].combine_chunks(), count),
            "issues": pc.cast(counts, pa.int32()),
            "issue": issue,
            "summary": _joined(first, " · ", count),
            "text": pc.utf8_lower(_joined(searched, " ", count)),
        }
    )


def _joined(columns: list[Any], separator: str, count: int) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not columns:
        return pa.array([""] * count, pa.string())
    # pyarrow 26 with null_handling="skip" drops rows in which all columns are null, so nulls become empty strings
    joined = pc.binary_join_element_wise(*columns, separator, null_handling="replace", null_replacement="")
    once = pc.replace_substring_regex(joined, f"(?:{separator}){{2,}}", separator)
    return pc.utf8_trim(once, separator)


def _as_text(column: Any) -> Any | None:
    """A column as text, a group with its values joined; None for lists."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_struct(kind):
        inner = [
            each for index in range(kind.num_fields) if (each := _as_text(pc.struct_field(column, index))) is not None
        ]
        return _joined(inner, " ", len(column)) if inner else None
    if pa.types.is_list(kind):
        return None
    return pc.cast(column, pa.string())


def _first_of_each(values: Any, parents: Any, count: int) -> Any:
    """The first value of each parent, or null."""
    import numpy as np
    import pyarrow as pa

    rows, first = np.unique(parents.to_numpy(zero_copy_only=False), return_index=True)
    indices: list[int | None] = [None] * count
    for row, index in zip(rows, first, strict=True):
        indices[int(row)] = int(index)
    return values.take(pa.array(indices, pa.int64()))


def _lowest(confidence: Any, count: int) -> Any:
    """The lowest number in each row, at any depth; null if there is none."""
    import numpy as np
    import pyarrow as pa

    low = np.full(count, np.inf)
    for parents, values in _numbers(confidence, np.arange(count)):
        np.minimum.at(low, parents, values)
    return pa.array(low, mask=np.isinf(low))


def _numbers(array: Any, rows: Any) -> Iterator[tuple[Any, Any]]:
    """All numbers at any depth, each with its row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_struct(array.type):
        for index in range(array.type.num_fields):
            yield from _numbers(pc.struct_field(array, index), rows)
    elif pa.types.is_list(array.type):
        inner = rows[pc.list_parent_indices(array).to_numpy(zero_copy_only=False)]
        yield from _numbers(pc.list_flatten(array), inner)
    else:
        known = pc.is_valid(array).to_numpy(zero_copy_only=False)
        yield rows[known], pc.drop_null(array).to_numpy(zero_copy_only=False)
