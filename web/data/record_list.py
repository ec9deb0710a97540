"""All records of a root as one flat table, read from the Parquet files: what the list shows, filters and exports.

A file is read again only when it has changed, so that a page over 20,000 records opens at once.
"""

import functools
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import DOCUMENT_ERRORS
from pipeline.core.types import Status
from web.data.conversations import PLACES

if TYPE_CHECKING:
    import pyarrow as pa

FILES_KEPT = 2000
SAID = 3  # values that stand for a record in the list
JOB_KEYS = r" \((?:review_below|max_length|minimum|maximum)\)"  # for who writes jobs; who reviews need not know them
_COLUMNS = dict.fromkeys(("job", "day", "document_id", "source", "status", "issue", "said", "text"), "string") | {
    "page": "int32",
    "sure": "float64",
    "issues": "int32",
}
# What a file may do to its reader that is damaged, or that somebody else put there. A broken disk is among them.
_UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, NotImplementedError)
_FIRST: dict[Status, int] = {"failed": 0, "review": 1, "ok": 2}


@dataclass(frozen=True)
class Filter:
    """What is to be seen. Empty: everything. `text` is looked for in names, values and issues."""

    job: str = ""
    status: str = ""
    day: str = ""
    text: str = ""


@dataclass(frozen=True)
class Seen:
    """The rows of all files that could be read, and the files that could not."""

    table: "pa.Table"
    skipped: tuple[Path, ...]


def record_list(root: Path) -> "pa.Table":
    """A row a record: job, day, document_id, page, source, status, sure, issues, issue, said, text.

    Without what visitors asked on the page, which is theirs alone. `sure` is the lowest confidence, `issue` the first
    issue's words, `said` the first values.
    """
    return seen(root).table


def seen(root: Path) -> Seen:
    """The same, with the files that are left out because they cannot be read as a table of results."""
    import pyarrow as pa

    parts, skipped = [], []
    for path in sorted((root / "results").glob("*/*.parquet")):
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):  # opening a pipe would wait for its other end
                raise ValueError("it is no file")
            parts.append(_flat(path, found.st_mtime_ns, found.st_size))
        except FileNotFoundError:
            continue  # a run just made the table again: the next look sees it
        except _UNREADABLE:
            skipped.append(path)
    none = pa.table({name: pa.array([], kind) for name, kind in _COLUMNS.items()})
    return Seen(pa.concat_tables(parts) if parts else none, tuple(skipped))


def chosen(table: "pa.Table", only: Filter) -> "pa.Table":
    """The rows of the filter: failed first, then the least sure of those for review, then the newest."""
    import pyarrow as pa
    import pyarrow.compute as pc

    masks = [pc.equal(table[name], value) for name, value in (("job", only.job), ("status", only.status)) if value]
    if only.day:
        masks.append(pc.equal(table["day"], only.day))
    for word in only.text.lower().split():
        masks.append(pc.match_substring(table["text"], word))
    if masks:
        table = table.filter(functools.reduce(pc.and_, masks))
    rank = pc.index_in(table["status"], pa.array(sorted(_FIRST, key=lambda status: _FIRST[status])))
    table = table.append_column("rank", rank)
    order = [("rank", "ascending"), ("sure", "ascending"), ("day", "descending"), ("source", "ascending")]
    return table.sort_by(order).drop_columns("rank")


@functools.lru_cache(maxsize=FILES_KEPT)
def _flat(path: Path, changed: int, size: int) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with open(path, "rb") as file:
        table = pq.read_table(file)
    names = table.column_names
    if "question" in names[: names.index("page")]:  # the job answers questions; see history.private
        table = table.filter(pc.invert(pc.match_substring_regex(table["source"], PLACES)))
    count = table.num_rows
    fields = names[names.index("processed_at") + 1 : names.index("confidence")]
    words = [_words(table[name].combine_chunks()) for name in fields]
    words = [column for column in words if column is not None]
    first = [pc.utf8_slice_codeunits(each, 0, 60) for each in words[:SAID]]
    issues = table["issues"].combine_chunks()
    counts = pc.fill_null(pc.list_value_length(issues), 0)
    each = pc.list_flatten(issues)
    told = _joined([pc.struct_field(each, "path"), pc.struct_field(each, "message")], ": ", len(each))
    one = _firsts(told, pc.list_parent_indices(issues), count)
    error = pc.struct_field(table["error"].combine_chunks(), "code")
    for code, known in DOCUMENT_ERRORS.items():
        error = pc.if_else(pc.equal(error, code), known.cause, error)
    issue = pc.coalesce(pc.replace_substring_regex(one, JOB_KEYS, ""), error, pa.scalar(""))
    everything = [table["source"].combine_chunks(), issue, *words]
    return pa.table(
        {
            "job": pa.array([path.parent.name] * count, pa.string()),
            "day": pa.array([path.stem] * count, pa.string()),
            **{
                name: pc.cast(table[name].combine_chunks(), _COLUMNS[name])
                for name in ("document_id", "page", "source", "status")
            },
            "sure": _lowest(table["confidence"].combine_chunks(), count),
            "issues": pc.cast(counts, pa.int32()),
            "issue": issue,
            "said": _joined(first, " · ", count),
            "text": pc.utf8_lower(_joined(everything, " ", count)),
        }
    )


def _joined(parts: list[Any], between: str, count: int) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not parts:
        return pa.array([""] * count, pa.string())
    # pyarrow 26 with null_handling="skip" loses the rows in which all parts are null, so nulls are blanked instead
    joined = pc.binary_join_element_wise(*parts, between, null_handling="replace", null_replacement="")
    once = pc.replace_substring_regex(joined, f"(?:{between}){{2,}}", between)
    return pc.utf8_trim(once, between)


def _words(column: Any) -> Any | None:
    """A column of single values as text; a group's first; None for lists."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_struct(kind):
        inner = [
            each for index in range(kind.num_fields) if (each := _words(pc.struct_field(column, index))) is not None
        ]
        return _joined(inner, " ", len(column)) if inner else None
    if pa.types.is_list(kind):
        return None
    return pc.cast(column, pa.string())


def _firsts(values: Any, parents: Any, count: int) -> Any:
    """The first of the values of each parent, null where it has none."""
    import numpy as np
    import pyarrow as pa

    rows, at = np.unique(parents.to_numpy(zero_copy_only=False), return_index=True)
    places: list[int | None] = [None] * count
    for row, place in zip(rows, at, strict=True):
        places[int(row)] = int(place)
    return values.take(pa.array(places, pa.int64()))


def _lowest(confidence: Any, count: int) -> Any:
    """The lowest of all numbers inside each row; null where it has none."""
    import numpy as np
    import pyarrow as pa

    low = np.full(count, np.inf)
    for parents, values in _numbers(confidence, np.arange(count)):
        np.minimum.at(low, parents, values)
    return pa.array(low, mask=np.isinf(low))


def _numbers(array: Any, rows: Any) -> Iterator[tuple[Any, Any]]:
    """Every number inside, with the row that it belongs to."""
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
