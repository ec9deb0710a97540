"""The filtered list as files: CSV, Excel and Parquet of the results, and corrections as a labelled set."""

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from pipeline.inbox.originals import original
from pipeline.reporting.html import visible
from pipeline.schema.data_path import map_values
from pipeline.schema.job import Job
from pipeline.storage.corrections import NoRecord, open_draft
from pipeline.storage.parquet_sink import save
from pipeline.storage.record_json import to_json
from web.data.record_list import Filter

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

CELL_LETTERS = 32_767  # Excel refuses a longer cell
SHEET_ROWS = 1_048_575  # below the heading
PACK_MIB = 1024  # of originals in a labelled set: it is made in memory
_CUT = " … (cut: Excel takes no more; the CSV has all)"
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")  # XML has no sign for most of these
_ENDING = re.compile(r"\.[a-z0-9]{1,8}")


def offer(root: Path, job: Job | None, rows: "pa.Table", only: Filter) -> None:
    """The export button under the list. Files are made when they are asked for. `job` is the filter's, if there is one
    now. No button draws the page anew, which could lose the next click.
    """
    name = "-".join(part for part in ("scanmill", only.job, only.status, only.day) if part)
    with st.popover("Export"):
        st.caption(f"{rows.num_rows} records, as filtered")
        st.download_button(
            "CSV", lambda: csv(root, rows), f"{name}.csv", "text/csv", on_click="ignore", width="stretch"
        )
        sheet = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
        st.download_button(
            "Excel",
            lambda: excel(root, rows),
            f"{name}.xlsx",
            sheet,
            on_click="ignore",
            width="stretch",
            disabled=rows.num_rows > SHEET_ROWS,
            help=None if rows.num_rows <= SHEET_ROWS else f"A sheet takes {SHEET_ROWS:,} rows: filter the list first.",
        )
        if only.job:
            st.download_button(
                "Parquet", lambda: parquet(root, rows), f"{name}.parquet", on_click="ignore", width="stretch"
            )
            if job is not None:
                st.download_button(
                    "Labelled set",
                    lambda: labelled(root, job, rows),
                    f"{name}-labels.zip",
                    "application/zip",
                    on_click="ignore",
                    width="stretch",
                    help="What people corrected or approved, with the originals: for `run_batch.py eval`.",
                )
        else:
            st.caption("Choose one job for Parquet and a labelled set.")


def results(root: Path, rows: "pa.Table") -> Iterator["pa.Table"]:
    """The full result rows of the filtered list, a table a job, in the list's order."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    wanted = rows.select(["job", "day", "document_id", "page"]).to_pylist()
    for job in dict.fromkeys(row["job"] for row in wanted):
        mine = [row for row in wanted if row["job"] == job]
        place = {(row["document_id"], row["page"]): number for number, row in enumerate(mine)}
        parts = []
        for day in dict.fromkeys(row["day"] for row in mine):
            with open(root / "results" / job / f"{day}.parquet", "rb") as file:
                parts.append(pq.read_table(file))
        table = pa.concat_tables(parts, promote_options="permissive")
        keys = zip(table["document_id"].to_pylist(), table["page"].to_pylist(), strict=True)
        found = sorted((place[key], at) for at, key in enumerate(keys) if key in place)
        yield table.take([at for _, at in found])


def flat(root: Path, rows: "pa.Table") -> "pd.DataFrame":
    """One row a record, plain cells: groups become columns with a point, lists become JSON."""
    import pandas as pd

    made: list[dict[str, Any]] = []
    for table in results(root, rows):
        job = (table.schema.metadata or {}).get(b"scanmill.job", b"").decode()
        left_out = ("confidence", "evidence", "job_digest")
        made += [{"job": job, **dict(_cells(row))} for row in table.drop_columns(list(left_out)).to_pylist()]
    return pd.DataFrame(made)


def _cells(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if name == "source" and not prefix:
            yield name, spreadsheet_safe(visible(value))
        elif name == "issues" and not prefix:
            told = "; ".join(f"{each['path']}: {each['message']}".removeprefix(": ") for each in value or ())
            yield name, spreadsheet_safe(told)
        elif isinstance(value, Mapping):
            yield from _cells(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield prefix + name, spreadsheet_safe(json.dumps(value, ensure_ascii=False, default=str)) if value else None
        else:
            yield prefix + name, spreadsheet_safe(value)


def spreadsheet_safe(value: Any) -> Any:
    """A spreadsheet runs what begins like a formula: such text gets an apostrophe before it, a number does not.

    Control characters are written out, as the page does: a NUL ends a CSV for many programs, and no sheet can hold one.
    """
    if not isinstance(value, str):
        return value
    value = _CONTROLS.sub(lambda found: f"⟨{ord(found[0]):04X}⟩", value)
    if not value.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")):
        return value
    return value if re.fullmatch(r"[+-][\d\s().,/-]*", value) else f"'{value}"


def csv(root: Path, rows: "pa.Table") -> bytes:
    """UTF-8 with the mark by which Excel knows it."""
    return flat(root, rows).to_csv(index=False).encode("utf-8-sig")


def excel(root: Path, rows: "pa.Table") -> bytes:
    """A workbook with one sheet. Raises ValueError where a sheet has no room for the rows."""
    if rows.num_rows > SHEET_ROWS:
        raise ValueError(f"Excel takes {SHEET_ROWS:,} rows, and these are {rows.num_rows:,}; take the CSV")
    table = flat(root, rows)
    for name in table.columns:
        table[name] = [_cell(each) for each in table[name]]
    buffer = io.BytesIO()
    table.to_excel(buffer, index=False, engine="openpyxl", freeze_panes=(1, 0))
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    """What a sheet can hold: no time zones, no day before 1900, and no more than so many letters."""
    if isinstance(value, date) and value.year < 1900:
        return value.isoformat()
    if isinstance(value, str) and len(value) > CELL_LETTERS:
        return value[: CELL_LETTERS - len(_CUT)] + _CUT
    return value.replace(tzinfo=None) if getattr(value, "tzinfo", None) else value


def parquet(root: Path, rows: "pa.Table") -> bytes:
    """The rows of one job as they are in the table, all columns."""
    buffer = io.BytesIO()
    save(buffer, next(iter(results(root, rows))))
    return buffer.getvalue()


def labelled(root: Path, job: Job, rows: "pa.Table") -> bytes:
    """A zip of labels.jsonl and img/: the records that a person corrected or approved. What `eval` takes, unpacked.

    An original that is gone, or beyond `PACK_MIB`, is left out with its label, and named in missing.txt.
    """
    buffer, gone, room = io.BytesIO(), [], PACK_MIB * 2**20
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as pack:
        lines, packed = [], set()
        for row in rows.select(["document_id", "page"]).to_pylist():
            try:
                record = open_draft(root, job, row["document_id"], row["page"]).record
            except NoRecord:  # its row goes when the table is made again
                continue
            if not (record.corrections or record.approved):
                continue
            place = original(root, record.document)
            ending = place.suffix.lower() if place else ""
            name = record.document.id[:12] + (ending if _ENDING.fullmatch(ending) else "")
            size = 0 if name in packed else record.document.size_bytes
            if place is None or size > room:
                why = "is gone" if place is None else f"has no room: a set takes {PACK_MIB} MiB; filter the list by day"
                gone.append(f"{visible(record.document.name)}: {why}")
                continue
            if name not in packed:
                pack.write(place, f"img/{name}")
                packed.add(name)
                room -= size
            given = json.loads(to_json(record))["data"]
            data = {name: given.get(name) for name in job.fields}  # how a measure is printed is no label
            label = {
                "file": name,
                "job": job.name,
                "page": record.page,
                "fields": map_values(data, _as_text),
                "norm": data,
            }
            lines.append(json.dumps({key: each for key, each in label.items() if each is not None}, ensure_ascii=False))
        pack.writestr("labels.jsonl", "".join(f"{line}\n" for line in lines))
        if gone:
            pack.writestr("missing.txt", "".join(f"{name}\n" for name in gone))
    return buffer.getvalue()


def _as_text(value: Any) -> Any:
    """A single value as a label file has it: text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if value is None or isinstance(value, str) else str(value)
