"""Review: the list of records, the doubtful first, and one record with its page beside its form."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from pipeline.core.errors import BusyError
from pipeline.reporting.html import visible, words
from pipeline.storage.corrections import Draft, EditConflict, NoRecord, check, open_draft, save
from web.components import theme
from web.components.image import asset
from web.components.record_form import form
from web.context import current_context, current_user
from web.data.conversations import private
from web.data.record_list import Filter, chosen, record_list, seen
from web.pages import export

_HERE = "web.pages"
ROWS = 50  # on one page of the list
NAMED = 5  # files that cannot be read, of possibly many
_NONE = (
    "Nothing has been read yet.",
    "Drop scans into a folder of inbox/ and run Scanmill; what it reads stands here.",
)
_DONE = ("Nothing waits for review.", "Every record is ok. Choose “all states” to see them.")
_NO_MATCH = ("No record is like that.", "Search for less, or choose another job, state or day.")


def page() -> None:
    """The page: a record where the address names one, else the list."""
    _body()


@st.fragment
def _body() -> None:
    key = st.query_params.get("record")
    with theme.show_errors():
        if key:
            _record(key)
        else:
            _list()


# ---- the list
def _list() -> None:
    found = seen(current_context().root)
    table = found.table
    if found.skipped:
        _tell_skipped(found.skipped)
    only = Filter(**{name: st.query_params.get(name, "") for name in ("job", "status", "day", "text")})
    rows = chosen(table, only)
    at = min(int(st.session_state.get("review_page", 0)), max(0, (rows.num_rows - 1) // ROWS))
    part = st.components.v2.component(
        "scanmill_list",
        html='<div id="list"></div>',
        css=asset("record_list.css", _HERE),
        js=asset("record_list.js", _HERE),
    )
    none = _NONE if not table.num_rows else _DONE if only == Filter(status="review") else _NO_MATCH
    data = {
        "rows": [_line(row) for row in rows.slice(at * ROWS, ROWS).to_pylist()],
        "total": rows.num_rows,
        "page": at,
        "pages": -(-rows.num_rows // ROWS),
        "filter": {"job": only.job, "status": only.status, "day": only.day, "text": only.text},
        "options": {
            "job": sorted(set(table["job"].to_pylist())) if table.num_rows else [],
            "status": ["review", "failed", "ok"],
            "day": sorted(set(table["day"].to_pylist()), reverse=True) if table.num_rows else [],
        },
        "none": list(none),
    }
    said = part(key="list", data=data, on_said_change=lambda: None).said
    if said:
        _hear_list(said)
    if rows.num_rows:
        export.offer(current_context().root, current_context().job(only.job) if only.job else None, rows, only)


def _tell_skipped(skipped: Sequence[Path]) -> None:
    names = ", ".join(f"{path.parent.name}/{path.name}" for path in skipped[:NAMED])
    more = f" and {len(skipped) - NAMED} more" if len(skipped) > NAMED else ""
    jobs = " ".join(sorted({path.parent.name for path in skipped}))
    cure = "What they held is safe in records/; `run_batch.py table JOB` makes the files of a job again"
    st.warning(theme.plain(f"Left out of this list, as it cannot be read: {names}{more} in results/. {cure} ({jobs})."))


def _line(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "key": _key(row),
        "name": words(row["source"]) + (f" · page {row['page']}" if row["page"] else ""),
        "job": row["job"],
        "day": row["day"],
        "status": row["status"],
        "sure": row["sure"],
        "issues": row["issues"],
        "issue": words(row["issue"])[:200],
        "said": words(row["said"])[:200],
    }


def _key(row: dict[str, Any]) -> str:
    return f"{row['job']}/{row['document_id']}/{row['page'] or 0}"


def _hear_list(said: dict[str, Any]) -> None:
    match said["do"]:
        case "open":
            st.session_state["review_told"] = []
            st.query_params["record"] = said["key"]
        case "turn":
            st.session_state["review_page"] = int(said["page"])
        case "filter":
            st.session_state["review_page"] = 0
            for name in ("job", "status", "day", "text"):
                if said[name]:
                    st.query_params[name] = said[name]
                elif name in st.query_params:
                    del st.query_params[name]
    st.rerun(scope="fragment")


# ---- one record
def _record(key: str) -> None:
    """Raises ConfigError and StorageError, which the shell tells in words."""
    job_name, document_id, number = (*key.split("/"), "", "")[:3]
    job = current_context().job(job_name)
    told: list[dict[str, str]] = list(st.session_state.get("review_told", ()))
    if job is None:
        _lost(f"There is no job named {job_name} now, so its records cannot be opened.")
        return
    root = current_context().root
    try:
        draft = open_draft(root, job, document_id, int(number) or None)
    except (ValueError, NoRecord):
        draft = None
    if draft is None or private(draft.record.document.name, job):
        _lost("No record has this address. It may have been deleted since; drop its document again to have it read.")
        return
    part = st.components.v2.component(
        "scanmill_review",
        html='<div id="review"></div>',
        css=asset("image.css") + asset("review.css", _HERE),
        js=asset("image.js") + asset("review.js", _HERE),
    )
    order = _order()
    place = f"{order.index(key) + 1} of {len(order)}" if key in order else ""
    data = {
        "form": form(draft, *_typed(key, draft)),
        "told": told,
        "pictures": f"scan/{key}/",
        "place": place,
        "left_at": st.session_state.get("review_left_at", 0),
        "round": time.time(),
    }
    said = part(key="review", data=data, on_said_change=lambda: None).said
    if said:
        _hear_record(said, key, draft, order)


def _lost(why: str) -> None:
    st.error(theme.plain(why))
    if st.button("Back to the list"):
        _go(None)
        st.rerun(scope="fragment")


def _typed(key: str, draft: Draft) -> tuple[dict[str, Any], dict[str, list[int | None]]]:
    """What was changed in the form and is not saved yet: values by path, and the order of rows."""
    kept = st.session_state.get("review_typed")
    if not kept or kept["id"] != key or kept["version"] != draft.version:
        return {}, {}
    return kept["changes"], _rows(kept)


def _rows(said: dict[str, Any]) -> dict[str, list[int | None]]:
    return {name: [None if each is None else int(each) for each in order] for name, order in said["rows"].items()}


def _order() -> list[str]:
    """The records as the list shows them, taken when a record is opened from it, so that "next" stays predictable."""
    only = Filter(**{name: st.query_params.get(name, "") for name in ("job", "status", "day", "text")})
    if st.session_state.get("review_order_of") != only:
        rows = chosen(record_list(current_context().root), only).select(["job", "document_id", "page"]).to_pylist()
        st.session_state["review_order_of"], st.session_state["review_order"] = only, [_key(row) for row in rows]
    order: list[str] = st.session_state["review_order"]
    return order


def _hear_record(said: dict[str, Any], key: str, draft: Draft, order: list[str]) -> None:
    if said["id"] != key:
        return
    if said["do"] != "check":
        st.session_state["review_told"] = []
    if said["do"] in ("back", "next", "previous"):  # the visitor was asked whether to leave it unsaved
        st.session_state["review_typed"], st.session_state["review_left_at"] = None, said["at"]
    match said["do"]:
        case "check":
            if said["at"] > st.session_state.get("review_left_at", 0):  # else it was overtaken by its own leaving
                st.session_state["review_typed"] = said
        case "back":
            _go(None)
        case "next" | "previous":
            _go(_neighbour(order, key, 1 if said["do"] == "next" else -1))
        case "save" | "approve":
            _save(said, key, draft, order)
    st.rerun(scope="fragment")


def _save(said: dict[str, Any], key: str, draft: Draft, order: list[str]) -> None:
    approve = said["do"] == "approve"
    told: list[dict[str, str]] = []
    if said["version"] != draft.version:
        told.append(_overtaken(draft, said))
        st.session_state["review_typed"] = None
    elif (problems := check(draft, said["changes"], _rows(said)).problems) != {}:
        told.append(
            {
                "level": "bad",
                "text": f"Not saved: {len(problems)} value{'s' * (len(problems) > 1)} cannot be read as written.",
            }
        )
        st.session_state["review_typed"] = said
    else:
        try:
            save(
                current_context().root,
                draft,
                said["changes"],
                _rows(said),
                approve=approve,
                by=current_user(),
                into=current_context().settings.sinks,
            )
        except EditConflict as error:
            told.append(_overtaken(error.theirs, said))
            st.session_state["review_typed"] = None
        except (BusyError, NoRecord) as error:
            told.append({"level": "doubt", "text": str(error)})
            st.session_state["review_typed"] = said
        else:
            st.session_state["review_typed"] = None
            following = _neighbour(order, key, 1) if approve else key
            told.append(
                {
                    "level": "good",
                    "text": "Saved." if following == key else f"Saved: {visible(draft.record.document.name)}",
                }
            )
            _go(following)
    st.session_state["review_told"] = told


def _overtaken(theirs: Draft, said: dict[str, Any]) -> dict[str, str]:
    wrote = {path: "a box" if isinstance(value, dict) else value for path, value in said["changes"].items()}
    mine = "; ".join(f"{path}: {value or 'nothing'}" for path, value in wrote.items())
    kept = f" You had written {mine}." if mine else ""
    return {"level": "bad", "text": f"{EditConflict(theirs)} These are the values as they are now.{kept}"}


def _neighbour(order: list[str], key: str, step: int) -> str:
    if key not in order:
        return order[0] if order else key
    return order[min(max(order.index(key) + step, 0), len(order) - 1)]


def _go(key: str | None) -> None:
    if key is None:
        st.session_state.pop("review_order_of", None)
        st.query_params.pop("record", None)
    else:
        st.query_params["record"] = key
