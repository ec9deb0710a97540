"""The export menu below the list of records."""

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from pipeline.schema.job import Job
from web.data.export_files import MAX_SHEET_ROWS, csv, excel, labelled_set, parquet
from web.data.record_list import Filter

if TYPE_CHECKING:
    import pyarrow as pa

_EXCEL = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def export_menu(root: Path, job: Job | None, rows: "pa.Table", only: Filter) -> None:
    """The export button. `job` is the job of the filter, if it exists.

    Files are made on demand. Buttons do not rerun the page, as a rerun could lose the next click.
    """
    name = "-".join(part for part in ("scanmill", only.job, only.status, only.day) if part)
    with st.popover("Export"):
        st.caption(f"{rows.num_rows} records, as filtered")
        st.download_button(
            "CSV", lambda: csv(root, rows), f"{name}.csv", "text/csv", on_click="ignore", width="stretch"
        )
        too_many = rows.num_rows > MAX_SHEET_ROWS
        st.download_button(
            "Excel", lambda: excel(root, rows), f"{name}.xlsx", _EXCEL, on_click="ignore", width="stretch",
            disabled=too_many,
            help=f"A sheet can have {MAX_SHEET_ROWS:,} rows: filter the list first." if too_many else None,
        )  # fmt: skip
        if not only.job:
            st.caption("Choose one job for Parquet and a labelled set.")
            return
        st.download_button(
            "Parquet", lambda: parquet(root, rows), f"{name}.parquet", on_click="ignore", width="stretch"
        )
        if job is not None:
            st.download_button(
                "Labelled set", lambda: labelled_set(root, job, rows), f"{name}-labels.zip", "application/zip",
                on_click="ignore", width="stretch",
                help="Corrected and approved records with their originals, for `run_batch.py eval`.",
            )  # fmt: skip
