"""Review page: the list of records, and one record with its page beside its form."""

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
from web.data.record_list import Filter, filter_records, load_records
from web.pages.export import export_menu

PAGE_ROWS = 50
MAX_NAMED = 5  # unreadable files that are named in the warning
_HERE = "web.pages"
_NO_RECORDS = (
    "There are no records yet.",
    "Put scans into a folder of inbox/ and run Scanmill; the results appear here.",
)
_NO_REVIEW = ("No records need review.", "Choose “all statuses” to see all records.")
_NO_MATCH = ("No records match the filter.", "Change the search text, job, status or day.")


def page() -> None:
    """Show the record that the address names, else the list."""
    _body()


@st.fragment
def _body() -> None:
    key = st.query_params.get("record")
    with theme.show_errors():
        if key:
            _record(key)
        else:
            _list()


def _current_filter() -> Filter:
    return Filter(**{name: st.query_params.get(name, "") for name in ("job", "status", "day", "text")})


# ---- the list
def _list() -> None:
    root = current_context().root
    records = load_records(root)
    table = records.table
    if records.skipped:
        _warn_skipped(records.skipped)
    only = _current_filter()
    rows = filter_records(table, only)
    pages = -(-rows.num_rows // PAGE_ROWS)
    number = min(int(st.session_state.get("review_page", 0)), max(0, pages - 1))
    component = st.components.v2.component(
        "scanmill_list",
        html='<div id="list"></div>',
        css=asset("record_list.css", _HERE),
        js=asset("record_list.js", _HERE),
    )
    empty = _NO_RECORDS if not table.num_rows else _NO_REVIEW if only == Filter(status="review") else _NO_MATCH
    data = {
        "rows": [_list_row(row) for row in rows.slice(number * PAGE_ROWS, PAGE_ROWS).to_pylist()],
        "total": rows.num_rows,
        "page": number,
        "pages": pages,
        "filter": {"job": only.job, "status": only.status, "day": only.day, "text": only.text},
        "options": {
            "job": sorted(set(table["job"].to_pylist())),
            "status": ["review", "failed", "ok"],
            "day": sorted(set(table["day"].to_pylist()), reverse=True),
        },
        "empty": list(empty),
    }
    action = component(key="list", data=data, on_action_change=lambda: None).action
    if action:
        _handle_list_action(action)
    if rows.num_rows:
        export_menu(root, current_context().job(only.job) if only.job else None, rows, only)


def _warn_skipped(skipped: Sequence[Path]) -> None:
    names = ", ".join(f"{path.parent.name}/{path.name}" for path in skipped[:MAX_NAMED])
    more = f" and {len(skipped) - MAX_NAMED} more" if len(skipped) > MAX_NAMED else ""
    jobs = " ".join(sorted({path.parent.name for path in skipped}))
    cure = f"The records are safe in records/; rebuild the files with `run_batch.py table JOB` (jobs: {jobs})."
    st.warning(theme.escape_markdown(f"Not in this list, because unreadable: {names}{more} in results/. {cure}"))


def _list_row(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "key": _key(row),
        "name": words(row["source"]) + (f" · page {row['page']}" if row["page"] else ""),
        "job": row["job"],
        "day": row["day"],
        "status": row["status"],
        "confidence": row["confidence"],
        "issues": row["issues"],
        "issue": words(row["issue"])[:200],
        "summary": words(row["summary"])[:200],
    }


def _key(row: dict[str, Any]) -> str:
    return f"{row['job']}/{row['document_id']}/{row['page'] or 0}"


def _handle_list_action(action: dict[str, Any]) -> None:
    match action["do"]:
        case "open":
            st.session_state["review_messages"] = []
            st.query_params["record"] = action["key"]
        case "page":
            st.session_state["review_page"] = int(action["page"])
        case "filter":
            st.session_state["review_page"] = 0
            for name in ("job", "status", "day", "text"):
                if action[name]:
                    st.query_params[name] = action[name]
                elif name in st.query_params:
                    del st.query_params[name]
    st.rerun(scope="fragment")


# ---- one record
def _record(key: str) -> None:
    """Raises ConfigError and StorageError, which `show_errors` displays."""
    job_name, document_id, number = (*key.split("/"), "", "")[:3]
    job = current_context().job(job_name)
    messages: list[dict[str, str]] = list(st.session_state.get("review_messages", ()))
    if job is None:
        _not_found(f"There is no job named {job_name}, so its records cannot be opened.")
        return
    root = current_context().root
    try:
        draft = open_draft(root, job, document_id, int(number) or None)
    except (ValueError, NoRecord):
        draft = None
    if draft is None or private(draft.record.document.name, job):
        _not_found("No record has this address. It may have been deleted. To read its document again, drop it again.")
        return
    component = st.components.v2.component(
        "scanmill_review",
        html='<div id="review"></div>',
        css=asset("image.css") + asset("review.css", _HERE),
        js=asset("image.js") + asset("review.js", _HERE),
    )
    order = _order()
    data = {
        "form": form(draft, *_unsaved(key, draft)),
        "messages": messages,
        "image_base": f"scan/{key}/",
        "position": f"{order.index(key) + 1} of {len(order)}" if key in order else "",
        "left_at": st.session_state.get("review_left_at", 0),
        "round": time.time(),
    }
    action = component(key="review", data=data, on_action_change=lambda: None).action
    if action:
        _handle_record_action(action, key, draft, order)


def _not_found(message: str) -> None:
    st.error(theme.escape_markdown(message))
    if st.button("Back to the list"):
        _go(None)
        st.rerun(scope="fragment")


def _unsaved(key: str, draft: Draft) -> tuple[dict[str, Any], dict[str, list[int | None]]]:
    """Unsaved changes of the form: values by path, and the order of rows."""
    kept = st.session_state.get("review_unsaved")
    if not kept or kept["id"] != key or kept["version"] != draft.version:
        return {}, {}
    return kept["changes"], _rows(kept)


def _rows(action: dict[str, Any]) -> dict[str, list[int | None]]:
    return {name: [None if each is None else int(each) for each in order] for name, order in action["rows"].items()}


def _order() -> list[str]:
    """The keys of the list when a record was opened from it, so that "next" does not depend on later changes."""
    only = _current_filter()
    if st.session_state.get("review_order_of") != only:
        table = load_records(current_context().root).table
        rows = filter_records(table, only).select(["job", "document_id", "page"]).to_pylist()
        st.session_state["review_order_of"], st.session_state["review_order"] = only, [_key(row) for row in rows]
    order: list[str] = st.session_state["review_order"]
    return order


def _handle_record_action(action: dict[str, Any], key: str, draft: Draft, order: list[str]) -> None:
    if action["id"] != key:
        return
    if action["do"] != "check":
        st.session_state["review_messages"] = []
    if action["do"] in ("back", "next", "previous"):  # the browser has asked whether to discard changes
        st.session_state["review_unsaved"], st.session_state["review_left_at"] = None, action["at"]
    match action["do"]:
        case "check":
            if action["at"] > st.session_state.get("review_left_at", 0):  # else it arrived after the form was left
                st.session_state["review_unsaved"] = action
        case "back":
            _go(None)
        case "next" | "previous":
            _go(_neighbour(order, key, 1 if action["do"] == "next" else -1))
        case "save" | "approve":
            _save(action, key, draft, order)
    st.rerun(scope="fragment")


def _save(action: dict[str, Any], key: str, draft: Draft, order: list[str]) -> None:
    unsaved = None
    if action["version"] != draft.version:
        message = _conflict(draft, action)
    elif problems := check(draft, action["changes"], _rows(action)).problems:
        count = len(problems)
        message = {"level": "bad", "text": f"Not saved: {count} value{'s' * (count > 1)} cannot be read as written."}
        unsaved = action
    else:
        try:
            message = _save_changes(action, key, draft, order)
        except EditConflict as error:
            message = _conflict(error.theirs, action)
        except (BusyError, NoRecord) as error:
            message, unsaved = {"level": "doubt", "text": str(error)}, action
    st.session_state["review_unsaved"], st.session_state["review_messages"] = unsaved, [message]


def _save_changes(action: dict[str, Any], key: str, draft: Draft, order: list[str]) -> dict[str, str]:
    """Save, and after an approval go to the next record. Raises EditConflict, BusyError and NoRecord."""
    approve = action["do"] == "approve"
    context = current_context()
    save(
        context.root, draft, action["changes"], _rows(action),
        approve=approve, by=current_user(), into=context.settings.sinks,
    )  # fmt: skip
    following = _neighbour(order, key, 1) if approve else key
    _go(following)
    name = "Saved." if following == key else f"Saved: {visible(draft.record.document.name)}"
    return {"level": "good", "text": name}


def _conflict(theirs: Draft, action: dict[str, Any]) -> dict[str, str]:
    changes = {path: "a box" if isinstance(value, dict) else value for path, value in action["changes"].items()}
    mine = "; ".join(f"{path}: {value or 'nothing'}" for path, value in changes.items())
    kept = f" Your unsaved changes: {mine}." if mine else ""
    return {"level": "bad", "text": f"{EditConflict(theirs)} The form shows the saved values.{kept}"}


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
