"""The filtered list as files: CSV, Excel and Parquet of the results, and corrections as a labelled set."""

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from pipeline.corrections import open_draft
from pipeline.job import Job
from pipeline.parquet import save
from pipeline.records import to_json
from web.overview import Filter
from web.scans import original

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


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
            "Excel", lambda: excel(root, rows), f"{name}.xlsx", sheet, on_click="ignore", width="stretch"
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
        if name == "issues" and not prefix:
            yield name, "; ".join(f"{each['path']}: {each['message']}".removeprefix(": ") for each in value or ())
        elif isinstance(value, Mapping):
            yield from _cells(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield prefix + name, json.dumps(value, ensure_ascii=False, default=str) if value else None
        else:
            yield prefix + name, _safe(value)


def _safe(value: Any) -> Any:
    """A spreadsheet runs what begins like a formula: such text gets an apostrophe before it, a number does not."""
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t")):
        return value
    return value if re.fullmatch(r"[+-][\d\s().,/-]*", value) else f"'{value}"


def csv(root: Path, rows: "pa.Table") -> bytes:
    """UTF-8 with the mark by which Excel knows it."""
    return flat(root, rows).to_csv(index=False).encode("utf-8-sig")


def excel(root: Path, rows: "pa.Table") -> bytes:
    table = flat(root, rows)
    for name in table.columns:  # a sheet has no time zones
        table[name] = [each.replace(tzinfo=None) if getattr(each, "tzinfo", None) else each for each in table[name]]
    buffer = io.BytesIO()
    table.to_excel(buffer, index=False, engine="openpyxl", freeze_panes=(1, 0))
    return buffer.getvalue()


def parquet(root: Path, rows: "pa.Table") -> bytes:
    """The rows of one job as they are in the table, all columns."""
    buffer = io.BytesIO()
    save(buffer, next(iter(results(root, rows))))
    return buffer.getvalue()


def labelled(root: Path, job: Job, rows: "pa.Table") -> bytes:
    """A zip of labels.jsonl and img/: the records that a person corrected or approved. What `eval` takes, unpacked.

    An original that is gone is left out with its label, and named in missing.txt.
    """
    buffer, gone = io.BytesIO(), []
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as pack:
        lines, packed = [], set()
        for row in rows.select(["document_id", "page"]).to_pylist():
            record = open_draft(root, job, row["document_id"], row["page"]).record
            if not (record.corrections or record.approved):
                continue
            place = original(root, record.document)
            if place is None:
                gone.append(record.document.name)
                continue
            name = f"{record.document.id[:12]}{place.suffix.lower()}"
            if name not in packed:
                pack.write(place, f"img/{name}")
                packed.add(name)
            given = json.loads(to_json(record))["data"]
            data = {name: given.get(name) for name in job.fields}  # how a measure is printed is no label
            label = {"file": name, "job": job.name, "page": record.page, "fields": _as_text(data), "norm": data}
            lines.append(json.dumps({key: each for key, each in label.items() if each is not None}, ensure_ascii=False))
        pack.writestr("labels.jsonl", "".join(f"{line}\n" for line in lines))
        if gone:
            pack.writestr("missing.txt", "".join(f"{name}\n" for name in gone))
    return buffer.getvalue()


def _as_text(value: Any) -> Any:
    """Values as a label file has them: text, in the shape of the fields."""
    if isinstance(value, dict):
        return {key: _as_text(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_as_text(each) for each in value]
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if value is None or isinstance(value, str) else str(value)
