"""Ask page: conversations about images, answered by the pipeline's job for questions."""

import functools
import itertools
import secrets
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import streamlit as st

from pipeline.core.errors import ConfigError, DocumentError, StorageError
from pipeline.plugins.engines import only_reads
from pipeline.plugins.formats import explain_error, picture_suffixes
from pipeline.reporting.html import visible
from web.components import theme
from web.components.answer_progress import answers_questions, show_pending
from web.components.image import show_image
from web.context import current_browser, current_context, question_client_of
from web.data import answer_markup, question_client
from web.data.conversations import ConversationStore, Turn, now
from web.data.question_client import QuestionClient
from web.pages.uploads import Attachment, annotated_pages, attach, attachments

PRESETS = {
    "Describe": "Describe what the picture shows.",
    "As JSON": "Give everything that is printed here as one JSON object, with a key for each label.",
    "As table": "Give the table as Markdown, with its headings.",
    "Boxes": "Find every object. Give a JSON list with bbox_2d and label for each.",
    "As HTML": "Write this screen as one HTML file with its styles.",
    "Translate": "Translate all text on the picture into English.",
}
MAX_ANNOTATED = 8  # pages with boxes below an answer


@functools.cache
def _store(root: Path) -> ConversationStore:
    return ConversationStore(root)


def page() -> None:
    """Show the conversation that the address names, or a new one."""
    root = current_context().root
    store, client = _store(root), question_client_of(root)
    owner = current_browser()
    name = st.query_params.get("c")
    if name and store.find(owner, name) is None:
        name = None
        st.query_params.clear()
    ready = _ready(client)
    _delete_pending(store, client)
    with st.sidebar:
        _sidebar(store, client, owner, name)
    st.subheader("Ask")
    images = attachments(store, name) if name else []
    turns = store.turns(name) if name else []
    if images:
        _show_thumbnails(images)
    if not turns:
        theme.empty_state(
            "Ask about an image.",
            "Drop images or a PDF onto the field below and write a question in any language. "
            "A question without an image works too.",
        )
    for turn in turns:
        if not turn.pending:
            _show_turn(turn, images if ready else [], client)
    if not ready:
        return
    pending = [turn for turn in turns if turn.pending]
    for turn in pending:
        show_pending(turn, name or "", store, client)
    _show_engine(client, bool(pending))
    sent, low = _input_field()
    if sent:
        _submit(sent, low, store, client, owner, name, turns)


def _ready(client: QuestionClient) -> bool:
    """Whether a job answers questions. If not, show the error; earlier conversations stay readable."""
    with theme.show_errors():
        return bool(client.job)
    return False


def _delete_pending(store: ConversationStore, client: QuestionClient) -> None:
    """Delete the documents of deleted conversations, also answers that arrived after the deletion."""
    for document, conversation in store.pending_deletions():
        try:
            if client.delete_question(conversation, document):
                store.deletion_done(document)
        except (StorageError, ConfigError):
            continue  # a run is writing, or the job is missing; try again at the next visit


def _sidebar(store: ConversationStore, client: QuestionClient, owner: str, name: str | None) -> None:
    if st.button("New conversation", icon=":material/add:", width="stretch", type="primary", disabled=name is None):
        st.query_params.clear()
        st.rerun()
    search = st.text_input("Search", placeholder="Search questions and answers", label_visibility="collapsed")
    found = store.conversations(owner, search)
    if not found:
        st.caption("Nothing found." if search else "Your conversations appear here.")
    for each in found:
        row = st.container(horizontal=True, gap="small", vertical_alignment="center", key=f"conversation-{each.id}")
        when = theme.format_time(each.started_at)
        kind: Literal["secondary", "tertiary"] = "secondary" if each.id == name else "tertiary"
        label = theme.escape_markdown(each.title)
        if row.button(label, key=f"open-{each.id}", help=when, type=kind, width="stretch", wrap=False):
            st.query_params["c"] = each.id
            st.rerun()
        with row.popover("", icon=":material/delete:", type="tertiary", key=f"delete-menu-{each.id}"):
            st.write("Delete this conversation and its images permanently?")
            if st.button("Delete", key=f"delete-{each.id}", type="primary"):
                with st.spinner("Deleting …"):
                    store.delete(owner, each.id)
                    _delete_pending(store, client)
                if each.id == name:
                    st.query_params.clear()
                st.rerun()


def _show_thumbnails(images: Sequence[Attachment]) -> None:
    row = st.container(horizontal=True, gap="medium")
    for number, each in enumerate(images):
        with row.container(width=170, border=True):
            st.image(each.image.thumbnail, width="stretch")
            size = f"{each.image.width} × {each.image.height}"
            st.caption(f"{theme.escape_markdown(each.image.name)}  \n{each.image.format} · {size} · {each.size_words}")
            if st.button("Open", key=f"open-image-{number}", icon=":material/zoom_in:", type="tertiary"):
                _open_image(each)


@st.dialog("Image", width="large")
def _open_image(each: Attachment) -> None:
    """A dialog with the large image and a download of the original."""
    with theme.show_errors():
        show_image(each.jpeg(), key=f"whole-{each.path.name}", height_px=520)
    name = theme.escape_markdown(each.image.name)
    st.download_button(f"Save {name}", each.path.read_bytes, visible(each.image.name), icon=":material/download:")


def _show_turn(turn: Turn, images: Sequence[Attachment], client: QuestionClient) -> None:
    with st.chat_message("user", avatar=":material/person:"):
        st.text(turn.question)
        st.caption(theme.format_time(turn.asked_at) + (" · low resolution" if turn.low_resolution else ""))
    with st.chat_message("assistant", avatar=":material/article:"):
        if turn.error is not None:
            st.error(theme.escape_markdown(turn.error))
        elif only_reads(turn.engine):
            st.info("The CPU engine cannot answer questions. This is the text that it read.")
            st.code(turn.answer or "", language=None, wrap_lines=True)
        else:
            _show_answer(turn)
        _show_boxes(turn, images, client)
        st.caption(f"{theme.format_time(turn.answered_at)} · {_seconds(turn)} · engine {turn.engine}")


def _show_answer(turn: Turn) -> None:
    for number, block in enumerate(answer_markup.blocks(turn.answer or "")):
        if block.language is None:
            st.markdown(answer_markup.escape_prices(block.text))
        elif block.language == "html":
            code, preview = st.tabs(["Code", "Preview"])
            with code:
                st.code(block.text, language="html", wrap_lines=True)
            with preview:
                theme.safe_preview(block.text, key=f"preview-{turn.id}-{number}")
        else:
            st.code(block.text, language=answer_markup.highlight_language(block), wrap_lines=True)


def _show_boxes(turn: Turn, images: Sequence[Attachment], client: QuestionClient) -> None:
    try:
        pages = annotated_pages(turn, images, client)
        for number, page in enumerate(itertools.islice(pages, MAX_ANNOTATED)):
            show_image(page.jpeg, page.boxes, key=f"annotated-{turn.id}-{number}", size=page.size, height_px=420)
        if next(pages, None):
            st.caption(f"Only the first {MAX_ANNOTATED} pages with boxes are shown.")
    except DocumentError as error:
        st.caption(f"The boxes cannot be shown. {explain_error(error.code).cause}")


def _show_engine(client: QuestionClient, pending: bool) -> None:
    """Say which run answers questions."""
    run = client.active_run()
    if run is None:
        if not pending:
            st.caption("No engine is running. The next question starts one.")
        return
    name = "this page’s own watch" if run.own else f"run {theme.escape_markdown(run.run)}"
    engine = f", engine {theme.escape_markdown(run.engine)}" if run.engine else ""
    if not answers_questions(run, client):
        st.caption(f"The active run is {name} (process {run.pid}{engine}); it does not answer questions.")
        return
    st.caption(f"Answers come from {name} (process {run.pid}{engine}, since {theme.format_time(run.since)}).")
    if only_reads(run.engine):
        st.info("The CPU engine cannot answer questions. It returns the text of an image, with boxes.")


def _input_field() -> tuple[Any, bool]:
    """The field for a question and images. Returns the value of `st.chat_input` and whether to use low resolution."""
    row = st.container(horizontal=True, gap="small", vertical_alignment="center")
    for label, preset in PRESETS.items():
        if row.button(label, key=f"preset-{label}", type="tertiary"):
            st.session_state["question"] = preset  # keeps the images that are already in the field
    with row.popover("Advanced", type="tertiary", icon=":material/tune:"):
        low = st.toggle(
            "Low resolution", help="At most 756 px on the longer side: faster, but small print may be illegible."
        )
    limit = round(current_context().settings.web.upload_mib)
    hint = f"Ask; drop images (at most {limit} MB each)"
    kinds = [suffix.removeprefix(".") for suffix in picture_suffixes()]
    sent = st.chat_input(hint, key="question", accept_file="multiple", file_type=kinds, max_upload_size=limit)
    return sent, low


def _submit(
    sent: Any,
    low: bool,
    store: ConversationStore,
    client: QuestionClient,
    owner: str,
    name: str | None,
    turns: Sequence[Turn],
) -> None:
    """Add the question to the conversation, or to a new one, and submit it."""
    question = sent.text.strip() or "What does this show?"
    started = None if name else store.begin(owner, question)
    name = name or started or ""
    try:
        for file in sent.files:
            # not getbuffer: Python 3.12.1 crashes when it collects a view that an exception kept (gh-111049)
            attach(store, name, file.name, file.getvalue())
        earlier = question_client.recent_turns([(turn.question, turn.answer) for turn in turns if turn.answer])
        asked_at = now()
        files = [each.question_file(low) for each in attachments(store, name)]
        folder = f"{name}-{len(turns) + 1:03}-{secrets.token_hex(3)}"  # unique: another tab may ask at the same time
        document = client.submit(folder, files, question, earlier)
        store.ask(name, question, document, low, asked_at)
        started = None
    finally:
        if started:  # the question could not be submitted: remove the new conversation
            store.delete(owner, started)
    st.query_params["c"] = name
    st.rerun()


def _seconds(turn: Turn) -> str:
    if not turn.answered_at:
        return ""
    duration = datetime.fromisoformat(turn.answered_at) - datetime.fromisoformat(turn.asked_at)
    return f"{duration.total_seconds():.0f} s"
