"""Runs: what waits, what goes on now, and how past nights went."""

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

LOOK_S = 2.0
LOG = "run.log"  # in runs/: what the run that was started here says
SHOWN = 60  # runs in the list
PLOT_PX = 190
RECORDS = {"ok": "green", "review": "orange", "failed": "red"}  # what a record may be, and its colour of the theme


def page() -> None:
    """The page."""
    place = current_context()
    root = place.root
    st.subheader("Runs")
    runs = run_history.run_history(root)
    st.fragment(_now, run_every=LOOK_S)(place, len(runs))
    if not runs:
        theme.nothing("No run has ended yet.", "After the first one, its account and its figures stand here.")
        return
    _plots(runs)
    _people(place)
    _past(root, runs)


# ---- now
def _now(place: WebContext, known: int) -> None:
    with theme.show_errors():  # a fragment runs outside of the page that it belongs to
        _see(place, known)


def _see(place: WebContext, known: int) -> None:
    if len(run_history.run_history(place.root)) != known:  # a run has ended: all of the page is made anew
        st.rerun()
    if trouble := _trouble(place):
        st.error(theme.plain(trouble))
    told = live_status.read(place.root)
    if told and told.get("state") == "working":
        _working(told)
    elif told:
        st.info(
            f"Run {theme.plain(told['run'])} waits for files since {theme.moment(told['since'])} "
            f"(engine {theme.plain(told['engine'])})."
        )
    elif held := holder(place.root):
        st.info(f"Run {theme.plain(held.get('run'))} is just starting.")
    _boxes(place)


def _working(told: Mapping[str, Any]) -> None:
    counts: Mapping[str, int] = told["counts"]
    done, waiting = sum(counts.values()), max(int(told["waiting"]), sum(counts.values()), 1)
    gone = (datetime.now().astimezone() - datetime.fromisoformat(told["since"])).total_seconds()
    left = f", about {span(gone / done * (waiting - done))} to go" if 0 < done < waiting else ""
    ends = ", ".join(f"{count} {what}" for what, count in counts.items()) or "nothing has ended yet"
    st.progress(done / waiting, f"{done} of {waiting} documents: {ends}. {told['pages']} pages in {span(gone)}{left}.")
    last = f" Last: {theme.plain(told['last'])}." if told.get("last") else ""
    st.caption(f"Run {theme.plain(told['run'])}, process {told['pid']}, engine {theme.plain(told['engine'])}.{last}")


def _boxes(place: WebContext) -> None:
    view = status(place.root, list(place.jobs().values()))
    boxes = [box for box in view["boxes"] if any(box[key] for key in ("waiting", "in_work", "done", "failed"))]
    if boxes:
        st.dataframe(
            [{**box, "inbox": visible(box["inbox"]), "jobs": box["jobs"] or "no job reads it"} for box in boxes],
            hide_index=True,
            height="content",
            column_order=["inbox", "waiting", "failed", "in_work", "done", "duplicate", "jobs"],
            column_config={"in_work": "in work"},
        )
    waiting, failed = (sum(box[key] for box in view["boxes"]) for key in ("waiting", "failed"))
    row = st.container(horizontal=True, vertical_alignment="center")
    busy = holder(place.root) and not _own_watch(place)
    if row.button(
        f"Run now ({waiting} wait)", icon=":material/play_arrow:", disabled=bool(busy) or not waiting, key="run-now"
    ):
        _start(place, "run")
    if row.button(
        f"Retry failed ({failed})", icon=":material/refresh:", disabled=bool(busy) or not failed, key="retry-failed",
        help="Moves what failed back into its inbox, to be read again at the next run."
    ):  # fmt: skip
        _retry(place)
    if busy:
        row.caption("While a run is at work these wait.")
    for note in view["notes"]:
        if note.startswith("no job reads") or "lie in inbox/" in note:
            st.warning(theme.plain(note))


def _own_watch(place: WebContext) -> bool:
    owner = question_client_of(place.root).owner()
    return owner is not None and owner.mine


def _start(place: WebContext, verb: str) -> None:
    """In a process of its own: it goes on when the page is closed."""
    question_client_of(place.root).close()  # the watch that only answers questions steps aside
    log = folder(place.root, "runs") / LOG
    with storing(log), open(log, "wb") as out:
        st.session_state["run_started"] = subprocess.Popen(
            [sys.executable, str(RUN), verb, *place.arguments],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    st.toast("The run starts.")


def _trouble(place: WebContext) -> str | None:
    """Why the run that was started here could not work, in its own words; None where it could."""
    run: subprocess.Popen[bytes] | None = st.session_state.get("run_started")
    if run is None or run.poll() in (None, OK, SOME_FAILED, INTERRUPTED):
        return None
    log = place.root / "runs" / LOG
    with storing(log):
        said = log.read_bytes()[-2000:].decode("utf-8", "replace").strip()
    return said or "The run ended without a word."


def _retry(place: WebContext) -> None:
    question_client_of(place.root).close()
    done = subprocess.run(
        [sys.executable, str(RUN), "retry", *place.whereabouts],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    st.toast(theme.plain(done.stderr.strip() or "Nothing was moved."))


# ---- the past
def _plots(runs: Sequence[run_history.RunSummary]) -> None:
    import altair as alt
    import pandas as pd

    frame = pd.DataFrame(run_history.by_day(runs))
    ink = theme.colours()
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
        st.markdown("**Records a day:** " + ", ".join(f":{ink}[{name}]" for name, ink in RECORDS.items()))
        st.altair_chart(bar.properties(height=PLOT_PX), width="stretch")
    for column, name, title, shown in (
        (second, "pace", "Pages a second", ".3~g"), (third, "review_share", "Share for review", ".0%"),
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


def _people(place: WebContext) -> None:
    with st.expander("How right was it? What people corrected and approved"):
        if not st.toggle("Count", help="Reads every record: a few seconds for many thousands.", key="count-right"):
            return
        with st.spinner("Reading records …"):
            found = [days for job in place.jobs().values() if (days := run_history.checked(place.root, job))]
        if found:
            st.dataframe(
                [run_history.together(days) for days in found], hide_index=True,
                column_order=["job", "records checked", "values", "corrected", "right"],
                column_config={"right": st.column_config.NumberColumn(format="percent")},
            )  # fmt: skip
            st.caption("Right: values of approved or corrected records that nobody had to change.")
            _right_by_day([day for days in found for day in days])
        else:
            st.caption("Nobody has approved or corrected a record yet. Do so under Review.")


def _right_by_day(days: Sequence[Mapping[str, Any]]) -> None:
    import altair as alt
    import pandas as pd

    line = alt.Chart(pd.DataFrame(days)).mark_line(point=True).encode(
        x=alt.X("day:O", title=None, axis=alt.Axis(labelAngle=0, labelOverlap=True)),
        y=alt.Y("right:Q", title=None, axis=alt.Axis(format=".0%"), scale=alt.Scale(domainMax=1, zero=False)),
        color=alt.Color("job:N", title=None),
        tooltip=["job", "day", "records checked", alt.Tooltip("right:Q", format=".1%")],
    )  # fmt: skip
    st.markdown("**Right, by the day on which it was read**")
    st.altair_chart(line.properties(height=PLOT_PX), width="stretch")


def _past(root: Path, runs: Sequence[run_history.RunSummary]) -> None:
    st.markdown("**Past runs**")
    picked = st.dataframe(
        [run.row() for run in runs[:SHOWN]],
        hide_index=True, on_select="rerun", selection_mode="single-row", key="past-runs",
    )  # fmt: skip
    if len(runs) > SHOWN:
        st.caption(f"The newest {SHOWN} of {len(runs)}; all lie in {theme.plain(root / 'runs')}.")
    if rows := picked["selection"]["rows"]:
        run = runs[rows[0]]
        for fault in run.faults:
            st.error(theme.plain(fault))
        if not run.page.exists():
            st.caption(f"The page of this account is no longer there: {theme.plain(run.page.name)}.")
            return
        with storing(run.page):
            theme.safe_preview(run.page.read_text("utf-8"), key=f"report-{run.page.stem}", height_px=820)
    else:
        st.caption("Choose a row to see its account.")
