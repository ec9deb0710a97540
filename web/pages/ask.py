"""Ask: a conversation about pictures. The answers come from the pipeline's job for questions."""

import functools
import itertools
import secrets
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

import streamlit as st

from pipeline.core.errors import ConfigError, DocumentError, StorageError
from pipeline.plugins.engines import only_reads
from pipeline.plugins.formats import explain_error, picture_suffixes
from pipeline.reporting.html import visible
from web.components import theme
from web.components.answer_progress import serves, waiting_for
from web.components.image import picture
from web.context import current_context, question_client_of, visitor
from web.data import answer_markup, question_client
from web.data.conversations import History, Turn, now
from web.data.question_client import QuestionClient
from web.pages.uploads import Attached, attach, attached, marked

PRESETS = {
    "Describe": "Describe what the picture shows.",
    "As JSON": "Give everything that is printed here as one JSON object, with a key for each label.",
    "As table": "Give the table as Markdown, with its headings.",
    "Boxes": "Find every object. Give a JSON list with bbox_2d and label for each.",
    "As HTML": "Write this screen as one HTML file with its styles.",
    "Translate": "Translate all text on the picture into English.",
}
MARKED = 8  # pages with boxes below an answer


@functools.cache
def _history(root: Path) -> History:
    return History(root)


def page() -> None:
    """The page."""
    place = current_context()
    history, desk = _history(place.root), question_client_of(place.root)
    owner = visitor()
    name = st.query_params.get("c")
    if name and history.mine(owner, name) is None:
        name = None
        st.query_params.clear()
    ready = _ready(desk)
    _see_off(history, desk)
    with st.sidebar:
        _sidebar(history, desk, owner, name)
    st.subheader("Ask")
    pictures = attached(history, name) if name else []
    turns = history.turns(name) if name else []
    if pictures:
        _strip(pictures)
    if not turns:
        theme.nothing(
            "Ask about a picture.",
            "Drag pictures or a PDF onto the field below and write a question, in any language. "
            "A question without a picture works too.",
        )
    for turn in turns:
        if not turn.open:
            _turn(turn, pictures if ready else [], desk)
    if not ready:
        return
    waiting = [turn for turn in turns if turn.open]
    for turn in waiting:
        waiting_for(turn, name or "", history, desk)
    _who(desk, waiting)
    _field(history, desk, owner, name, pictures, turns)


def _ready(desk: QuestionClient) -> bool:
    """Whether there is a job that answers; if not, that is told, and what was said before can still be read."""
    with theme.show_errors():
        return bool(desk.job)
    return False


def _see_off(history: History, desk: QuestionClient) -> None:
    """Removes what deleted conversations left: an answer that was being made when its conversation went comes later."""
    for document, conversation in history.leaving():
        try:
            if desk.forget(conversation, document):
                history.left(document)
        except (StorageError, ConfigError):
            continue  # a run is just writing, or the job is not there; the next visit tries again


def _sidebar(history: History, desk: QuestionClient, owner: str, name: str | None) -> None:
    if st.button("New conversation", icon=":material/add:", width="stretch", type="primary", disabled=name is None):
        st.query_params.clear()
        st.rerun()
    search = st.text_input("Search", placeholder="Search questions and answers", label_visibility="collapsed")
    found = history.conversations(owner, search)
    if not found:
        st.caption("Nothing found." if search else "Your conversations will stand here.")
    for each in found:
        row = st.container(horizontal=True, gap="small", vertical_alignment="center", key=f"talk-{each.id}")
        when = theme.moment(each.began_at)
        kind: Literal["secondary", "tertiary"] = "secondary" if each.id == name else "tertiary"
        label = theme.plain(each.title)
        if row.button(label, key=f"open-{each.id}", help=when, type=kind, width="stretch", wrap=False):
            st.query_params["c"] = each.id
            st.rerun()
        with row.popover("", icon=":material/delete:", type="tertiary", key=f"bin-{each.id}"):
            st.write("Delete this conversation and its pictures for good?")
            if st.button("Delete", key=f"delete-{each.id}", type="primary"):
                with st.spinner("Deleting …"):
                    history.delete(owner, each.id)
                    _see_off(history, desk)
                if each.id == name:
                    st.query_params.clear()
                st.rerun()


def _strip(pictures: Sequence[Attached]) -> None:
    row = st.container(horizontal=True, gap="medium")
    for number, each in enumerate(pictures):
        with row.container(width=170, border=True):
            st.image(each.kept.thumbnail, width="stretch")
            size = f"{each.kept.width} × {each.kept.height}"
            st.caption(f"{theme.plain(each.kept.name)}  \n{each.kept.format} · {size} · {each.size_words}")
            if st.button("Open", key=f"open-picture-{number}", icon=":material/zoom_in:", type="tertiary"):
                _opened(each)


@st.dialog("The picture", width="large")
def _opened(each: Attached) -> None:
    """The picture large, and its original to take away."""
    with theme.show_errors():
        picture(each.shown(), key=f"whole-{each.path.name}", height_px=520)
    name = theme.plain(each.kept.name)
    st.download_button(f"Save {name}", each.path.read_bytes, visible(each.kept.name), icon=":material/download:")


def _turn(turn: Turn, pictures: Sequence[Attached], desk: QuestionClient) -> None:
    with st.chat_message("user", avatar=":material/person:"):
        st.text(turn.question)
        st.caption(theme.moment(turn.asked_at) + (" · low resolution" if turn.low_resolution else ""))
    with st.chat_message("assistant", avatar=":material/article:"):
        if turn.error is not None:
            st.error(theme.plain(turn.error))
        elif only_reads(turn.engine):
            st.info("The CPU engine can only read. This is the text that it read; it does not answer the question.")
            st.code(turn.answer or "", language=None, wrap_lines=True)
        else:
            _answer(turn)
        _marked(turn, pictures, desk)
        st.caption(f"{theme.moment(turn.answered_at)} · {_seconds(turn)} · engine {turn.engine}")


def _answer(turn: Turn) -> None:
    for number, part in enumerate(answer_markup.parts(turn.answer or "")):
        if part.language is None:
            st.markdown(answer_markup.prose(part.text))
        elif part.language == "html":
            code, preview = st.tabs(["Code", "Preview"])
            with code:
                st.code(part.text, language="html", wrap_lines=True)
            with preview:
                theme.safe_preview(part.text, key=f"preview-{turn.id}-{number}")
        else:
            st.code(part.text, language=answer_markup.highlighting(part), wrap_lines=True)


def _marked(turn: Turn, pictures: Sequence[Attached], desk: QuestionClient) -> None:
    try:
        pages = marked(turn, pictures, desk)
        for number, page in enumerate(itertools.islice(pages, MARKED)):
            picture(page.jpeg, page.boxes, key=f"marked-{turn.id}-{number}", size=page.size, height_px=420)
        if next(pages, None):
            st.caption(f"More pages have boxes; these are the first {MARKED}.")
    except DocumentError as error:
        st.caption(f"The boxes cannot be shown any more. {explain_error(error.code).cause}")


def _who(desk: QuestionClient, waiting: Sequence[Turn]) -> None:
    owner = desk.owner()
    if owner is None:
        if not waiting:
            st.caption("No engine runs now. The next question starts one.")
        return
    whose = "this page’s own watch" if owner.mine else f"run {theme.plain(owner.run)}"
    engine = f", engine {theme.plain(owner.engine)}" if owner.engine else ""
    if not serves(owner, desk):
        st.caption(f"Now {whose} is at work (process {owner.pid}{engine}); it does not answer questions.")
        return
    st.caption(f"Answers come from {whose} (process {owner.pid}{engine}, since {theme.moment(owner.since)}).")
    if only_reads(owner.engine):
        st.info("Here only reading is possible: the CPU engine gives the text of a picture, with boxes.")


def _field(
    history: History,
    desk: QuestionClient,
    owner: str,
    name: str | None,
    pictures: Sequence[Attached],
    turns: Sequence[Turn],
) -> None:
    row = st.container(horizontal=True, gap="small", vertical_alignment="center")
    for label, preset in PRESETS.items():
        if row.button(label, key=f"preset-{label}", type="tertiary"):
            st.session_state["question"] = preset  # it stands in the field, beside what was dropped there
    with row.popover("Advanced", type="tertiary", icon=":material/tune:"):
        low = st.toggle(
            "Low resolution", help="At most 756 px on the longer side: quicker, and small print may be lost."
        )
    most = round(current_context().settings.web.upload_mib)
    hint = f"Ask; drop pictures (at most {most} MB each)"
    kinds = [suffix.removeprefix(".") for suffix in picture_suffixes()]
    sent = st.chat_input(hint, key="question", accept_file="multiple", file_type=kinds, max_upload_size=most)
    if not sent:
        return
    question = sent.text.strip() or "What does this show?"
    began = None if name else history.begin(owner, question)
    name = name or began or ""
    try:
        for file in sent.files:
            # not getbuffer: Python 3.12.1 crashes when it collects a view that an exception kept (gh-111049)
            attach(history, name, file.name, file.getvalue())
        pictures = attached(history, name)
        earlier = question_client.recent([(turn.question, turn.answer) for turn in turns if turn.answer])
        asked_at = now()
        ways = [each.way(low) for each in pictures]
        place = f"{name}-{len(turns) + 1:03}-{secrets.token_hex(3)}"  # another tab may ask at this moment too
        document = desk.drop(place, ways, question, earlier)
        history.ask(name, question, document, low, asked_at)
        began = None
    finally:
        if began:  # a question that could not be asked begins no conversation
            history.delete(owner, began)
    st.query_params["c"] = name
    st.rerun()


def _seconds(turn: Turn) -> str:
    if not turn.answered_at:
        return ""
    gone = datetime.fromisoformat(turn.answered_at) - datetime.fromisoformat(turn.asked_at)
    return f"{gone.total_seconds():.0f} s"
