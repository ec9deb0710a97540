"""Runs page: waiting documents, the active run, and the results of past runs."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import streamlit as st

from pipeline.core.errors import INTERRUPTED, OK, SOME_FAILED
from pipeline.inbox.status import status
from pipeline.reporting import live_status
from pipeline.reporting.html import span, visible
from pipeline.system.filesystem import folder, storing
from pipeline.system.locks import holder
from web.components import theme
from web.context import WebContext, current_context, question_client_of
from web.data import run_history
from web.data.question_client import RUN

POLL_S = 2.0
LOG = "run.log"  # in runs/: the output of a run that was started here
MAX_RUNS = 60  # in the list
PLOT_PX = 190
RECORDS = {"ok": "green", "review": "orange", "failed": "red"}  # status: colour of the theme


def page() -> None:
    """Show the active run, the inboxes, plots and past runs."""
    context = current_context()
    root = context.root
    st.subheader("Runs")
    runs = run_history.run_history(root)
    st.fragment(_now, run_every=POLL_S)(context, len(runs))
    if not runs:
        theme.empty_state("No run has ended yet.", "The report and figures of the first run will appear here.")
        return
    _plots(runs)
    _accuracy(context)
    _past_runs(root, runs)


# ---- now
def _now(context: WebContext, known: int) -> None:
    with theme.show_errors():  # a fragment runs outside of its page
        _update(context, known)


def _update(context: WebContext, known: int) -> None:
    if len(run_history.run_history(context.root)) != known:  # a run has ended: update the whole page
        st.rerun()
    if error := _start_error(context):
        st.error(theme.escape_markdown(error))
    live = live_status.read(context.root)
    if live and live.get("state") == "working":
        _working(live)
    elif live:
        st.info(
            f"Run {theme.escape_markdown(live['run'])} (engine {theme.escape_markdown(live['engine'])}) "
            f"has been waiting for files since {theme.format_time(live['since'])}."
        )
    elif held := holder(context.root):
        st.info(f"Run {theme.escape_markdown(held.get('run'))} is starting.")
    _inboxes(context)


def _working(live: Mapping[str, Any]) -> None:
    counts: Mapping[str, int] = live["counts"]
    done, waiting = sum(counts.values()), max(int(live["waiting"]), sum(counts.values()), 1)
    seconds = (datetime.now().astimezone() - datetime.fromisoformat(live["since"])).total_seconds()
    remaining = f", about {span(seconds / done * (waiting - done))} left" if 0 < done < waiting else ""
    ends = ", ".join(f"{count} {what}" for what, count in counts.items()) or "none has ended yet"
    st.progress(
        done / waiting, f"{done} of {waiting} documents: {ends}. {live['pages']} pages in {span(seconds)}{remaining}."
    )
    last = f" Last: {theme.escape_markdown(live['last'])}." if live.get("last") else ""
    st.caption(
        f"Run {theme.escape_markdown(live['run'])}, process {live['pid']}, "
        f"engine {theme.escape_markdown(live['engine'])}.{last}"
    )


def _inboxes(context: WebContext) -> None:
    view = status(context.root, list(context.jobs().values()))
    inboxes = [box for box in view["boxes"] if any(box[key] for key in ("waiting", "in_work", "done", "failed"))]
    if inboxes:
        st.dataframe(
            [{**box, "inbox": visible(box["inbox"]), "jobs": box["jobs"] or "no job reads it"} for box in inboxes],
            hide_index=True,
            height="content",
            column_order=["inbox", "waiting", "failed", "in_work", "done", "duplicate", "jobs"],
            column_config={"in_work": "in work"},
        )
    waiting, failed = (sum(box[key] for box in view["boxes"]) for key in ("waiting", "failed"))
    row = st.container(horizontal=True, vertical_alignment="center")
    busy = holder(context.root) and not _own_watch(context)
    if row.button(
        f"Run now ({waiting} waiting)", icon=":material/play_arrow:", disabled=bool(busy) or not waiting, key="run-now"
    ):
        _start(context, "run")
    if row.button(
        f"Retry failed ({failed})", icon=":material/refresh:", disabled=bool(busy) or not failed, key="retry-failed",
        help="Moves failed documents back into their inboxes. The next run reads them again."
    ):  # fmt: skip
        _retry(context)
    if busy:
        row.caption("Not available while a run is active.")
    for note in view["notes"]:
        if "inbox/" in note:
            st.warning(theme.escape_markdown(note))


def _own_watch(context: WebContext) -> bool:
    run = question_client_of(context.root).active_run()
    return run is not None and run.own


def _start(context: WebContext, verb: str) -> None:
    """Start a run in a process of its own, which continues when the page is closed."""
    question_client_of(context.root).close()  # stop the watch that only answers questions
    log = folder(context.root, "runs") / LOG
    with storing(log), open(log, "wb") as out:
        st.session_state["run_started"] = subprocess.Popen(
            [sys.executable, str(RUN), verb, *context.run_arguments],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    st.toast("The run has started.")


def _start_error(context: WebContext) -> str | None:
    """The error of the run that was started here, or None."""
    run: subprocess.Popen[bytes] | None = st.session_state.get("run_started")
    if run is None or run.poll() in (None, OK, SOME_FAILED, INTERRUPTED):
        return None
    log = context.root / "runs" / LOG
    with storing(log):
        output = log.read_bytes()[-2000:].decode("utf-8", "replace").strip()
    return output or "The run ended without an error message."


def _retry(context: WebContext) -> None:
    question_client_of(context.root).close()
    done = subprocess.run(
        [sys.executable, str(RUN), "retry", *context.root_arguments],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    st.toast(theme.escape_markdown(done.stderr.strip() or "No documents were moved."))


# ---- the past
def _plots(runs: Sequence[run_history.RunSummary]) -> None:
    import altair as alt
    import pandas as pd

    frame = pd.DataFrame(run_history.daily_totals(runs))
    ink = theme.plot_colours()
    colours = alt.Scale(domain=list(RECORDS), range=[ink[name] for name in RECORDS.values()])
    days = alt.X("day:O", title=None, axis=alt.Axis(labelAngle=0, labelOverlap=True))
    bar = alt.Chart(frame.melt("day", list(RECORDS), "records", "count")).mark_bar().encode(
        x=days,
        y=alt.Y("count:Q", title=None, axis=alt.Axis(tickMinStep=1)),
        color=alt.Color("records:N", scale=colours, legend=None),
        order=alt.Order("records:N", sort="descending"),
        tooltip=["day", "records", "count"],
    )  # fmt: skip
    first, second, third = st.columns(3)
    with first:
        st.markdown("**Records per day:** " + ", ".join(f":{ink}[{name}]" for name, ink in RECORDS.items()))
        st.altair_chart(bar.properties(height=PLOT_PX), width="stretch")
    for column, name, title, shown in (
        (second, "pace", "Pages per second", ".3~g"), (third, "review_share", "Share for review", ".0%"),
    ):  # fmt: skip
        mark = alt.Chart(frame).mark_line(point=alt.OverlayMarkDef(color=ink["primary"]), color=ink["primary"])
        line = mark.encode(
            x=days,
            y=alt.Y(f"{name}:Q", title=None, axis=alt.Axis(format=shown), scale=alt.Scale(domainMin=0)),
            tooltip=["day", alt.Tooltip(f"{name}:Q", format=shown)],
        )
        with column:
            st.markdown(f"**{title}**")
            st.altair_chart(line.properties(height=PLOT_PX), width="stretch")


def _accuracy(context: WebContext) -> None:
    with st.expander("Accuracy of reviewed records"):
        if not st.toggle("Count", help="Reads all records: a few seconds for many thousands.", key="count-right"):
            return
        with st.spinner("Reading records …"):
            found = [days for job in context.jobs().values() if (days := run_history.daily_accuracy(context.root, job))]
        if found:
            st.dataframe(
                [run_history.total_accuracy(days) for days in found], hide_index=True,
                column_order=["job", "records checked", "values", "corrected", "right"],
                column_config={"right": st.column_config.NumberColumn(format="percent")},
            )  # fmt: skip
            st.caption("Right: the share of values in approved or corrected records that were not changed.")
            _accuracy_by_day([day for days in found for day in days])
        else:
            st.caption("No record has been approved or corrected yet. Use the Review page.")


def _accuracy_by_day(days: Sequence[Mapping[str, Any]]) -> None:
    import altair as alt
    import pandas as pd

    line = alt.Chart(pd.DataFrame(days)).mark_line(point=True).encode(
        x=alt.X("day:O", title=None, axis=alt.Axis(labelAngle=0, labelOverlap=True)),
        y=alt.Y("right:Q", title=None, axis=alt.Axis(format=".0%"), scale=alt.Scale(domainMax=1, zero=False)),
        color=alt.Color("job:N", title=None),
        tooltip=["job", "day", "records checked", alt.Tooltip("right:Q", format=".1%")],
    )  # fmt: skip
    st.markdown("**Right, by day of processing**")
    st.altair_chart(line.properties(height=PLOT_PX), width="stretch")


def _past_runs(root: Path, runs: Sequence[run_history.RunSummary]) -> None:
    st.markdown("**Past runs**")
    picked = st.dataframe(
        [run.row() for run in runs[:MAX_RUNS]],
        hide_index=True, on_select="rerun", selection_mode="single-row", key="past-runs",
    )  # fmt: skip
    if len(runs) > MAX_RUNS:
        st.caption(f"The newest {MAX_RUNS} of {len(runs)}; all are in {theme.escape_markdown(root / 'runs')}.")
    if rows := picked["selection"]["rows"]:
        run = runs[rows[0]]
        for fault in run.faults:
            st.error(theme.escape_markdown(fault))
        if not run.page.exists():
            st.caption(f"The report is missing: {theme.escape_markdown(run.page.name)}.")
            return
        with storing(run.page):
            theme.safe_preview(run.page.read_text("utf-8"), key=f"report-{run.page.stem}", height_px=820)
    else:
        st.caption("Choose a row to see its report.")
