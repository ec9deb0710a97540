"""Exports of the filtered list: CSV, Excel, Parquet, and corrected records as a labelled set."""

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.types import Record
from pipeline.inbox.originals import original
from pipeline.reporting.html import visible
from pipeline.schema.data_path import map_values
from pipeline.schema.job import Job
from pipeline.storage.corrections import NoRecord, open_draft
from pipeline.storage.parquet_sink import save
from pipeline.storage.record_json import to_json

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MAX_CELL_LENGTH = 32_767  # characters in a cell of Excel
MAX_SHEET_ROWS = 1_048_575  # rows of a sheet below the heading
MAX_LABELLED_MIB = 1024  # originals in a labelled set, which is built in memory
_CUT = " … (cut at the limit of Excel; the CSV is complete)"
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")  # not allowed in XML
_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")


def result_tables(root: Path, rows: "pa.Table") -> Iterator["pa.Table"]:
    """The full result rows of the list, one table per job, in the order of the list."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    wanted = rows.select(["job", "day", "document_id", "page"]).to_pylist()
    for job in dict.fromkeys(row["job"] for row in wanted):
        of_job = [row for row in wanted if row["job"] == job]
        position = {(row["document_id"], row["page"]): number for number, row in enumerate(of_job)}
        parts = []
        for day in dict.fromkeys(row["day"] for row in of_job):
            with open(root / "results" / job / f"{day}.parquet", "rb") as file:
                parts.append(pq.read_table(file))
        table = pa.concat_tables(parts, promote_options="permissive")
        keys = zip(table["document_id"].to_pylist(), table["page"].to_pylist(), strict=True)
        found = sorted((position[key], at) for at, key in enumerate(keys) if key in position)
        yield table.take([at for _, at in found])


def flat_table(root: Path, rows: "pa.Table") -> "pd.DataFrame":
    """One row per record: a group becomes columns with dotted names, a list becomes JSON."""
    import pandas as pd

    records: list[dict[str, Any]] = []
    for table in result_tables(root, rows):
        job = (table.schema.metadata or {}).get(b"scanmill.job", b"").decode()
        left_out = ("confidence", "evidence", "job_digest")
        records += [{"job": job, **dict(_cells(row))} for row in table.drop_columns(list(left_out)).to_pylist()]
    return pd.DataFrame(records)


def _cells(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if name == "source" and not prefix:
            yield name, escape_formula(visible(value))
        elif name == "issues" and not prefix:
            messages = "; ".join(f"{each['path']}: {each['message']}".removeprefix(": ") for each in value or ())
            yield name, escape_formula(messages)
        elif isinstance(value, Mapping):
            yield from _cells(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield prefix + name, escape_formula(json.dumps(value, ensure_ascii=False, default=str)) if value else None
        else:
            yield prefix + name, escape_formula(value)


def escape_formula(value: Any) -> Any:
    """Put an apostrophe before text that a spreadsheet would run as a formula; numbers stay as they are.

    Control characters are written out: many programs stop reading a CSV at a NUL, and no sheet can store one.
    """
    if not isinstance(value, str):
        return value
    value = _CONTROLS.sub(lambda found: f"⟨{ord(found[0]):04X}⟩", value)
    if not value.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")):
        return value
    return value if re.fullmatch(r"[+-][\d\s().,/-]*", value) else f"'{value}"


def csv(root: Path, rows: "pa.Table") -> bytes:
    """CSV in UTF-8 with a byte order mark, which Excel needs to detect the encoding."""
    return flat_table(root, rows).to_csv(index=False).encode("utf-8-sig")


def excel(root: Path, rows: "pa.Table") -> bytes:
    """An Excel workbook with one sheet. Raises ValueError if there are too many rows."""
    if rows.num_rows > MAX_SHEET_ROWS:
        raise ValueError(f"a sheet can have {MAX_SHEET_ROWS:,} rows, and there are {rows.num_rows:,}; use CSV")
    table = flat_table(root, rows)
    for name in table.columns:
        table[name] = [_cell(each) for each in table[name]]
    buffer = io.BytesIO()
    table.to_excel(buffer, index=False, engine="openpyxl", freeze_panes=(1, 0))
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    """A value for a sheet: without time zone, dates before 1900 as text, long text cut."""
    if isinstance(value, date) and value.year < 1900:
        return value.isoformat()
    if isinstance(value, str) and len(value) > MAX_CELL_LENGTH:
        return value[: MAX_CELL_LENGTH - len(_CUT)] + _CUT
    return value.replace(tzinfo=None) if getattr(value, "tzinfo", None) else value


def parquet(root: Path, rows: "pa.Table") -> bytes:
    """All columns of the rows of one job, as in the result files."""
    buffer = io.BytesIO()
    save(buffer, next(iter(result_tables(root, rows))))
    return buffer.getvalue()


def labelled_set(root: Path, job: Job, rows: "pa.Table") -> bytes:
    """A zip of labels.jsonl and img/ with the corrected or approved records, as input for `eval`.

    Originals that are missing or exceed `MAX_LABELLED_MIB` are left out together with their labels and are listed in
    missing.txt.
    """
    buffer, missing, free_bytes = io.BytesIO(), [], MAX_LABELLED_MIB * 2**20
    labels: list[str] = []
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        packed: set[str] = set()
        for record in _reviewed(root, job, rows):
            path = original(root, record.document)
            suffix = path.suffix.lower() if path else ""
            name = record.document.id[:12] + (suffix if _SUFFIX.fullmatch(suffix) else "")
            size = 0 if name in packed else record.document.size_bytes
            if path is None or size > free_bytes:
                full = f"the limit of {MAX_LABELLED_MIB} MiB is reached; filter the list by day"
                missing.append(f"{visible(record.document.name)}: {'is missing' if path is None else full}\n")
                continue
            if name not in packed:
                archive.write(path, f"img/{name}")
                packed.add(name)
                free_bytes -= size
            labels.append(_label(record, job, name))
        archive.writestr("labels.jsonl", "".join(labels))
        if missing:
            archive.writestr("missing.txt", "".join(missing))
    return buffer.getvalue()


def _reviewed(root: Path, job: Job, rows: "pa.Table") -> Iterator[Record]:
    for row in rows.select(["document_id", "page"]).to_pylist():
        try:
            record = open_draft(root, job, row["document_id"], row["page"]).record
        except NoRecord:  # it was deleted; the table is updated later
            continue
        if record.corrections or record.approved:
            yield record


def _label(record: Record, job: Job, file: str) -> str:
    """The line of a record in labels.jsonl."""
    stored = json.loads(to_json(record))["data"]
    data = {name: stored.get(name) for name in job.fields}  # without companion columns, which are not labels
    label = {"file": file, "job": job.name, "page": record.page, "fields": map_values(data, _as_text), "norm": data}
    return json.dumps({key: each for key, each in label.items() if each is not None}, ensure_ascii=False) + "\n"


def _as_text(value: Any) -> Any:
    """A value as text, as label files have it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if value is None or isinstance(value, str) else str(value)
