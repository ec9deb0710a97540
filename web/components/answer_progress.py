"""A pending question: the partial answer, or the state of the engine and the seconds so far."""

from datetime import datetime

import streamlit as st

from web.components import theme
from web.data import answer_markup, question_client
from web.data.conversations import ConversationStore, Turn
from web.data.question_client import ActiveRun, QuestionClient

POLL_S = 0.5
CURSOR = " ▍"


def show_pending(turn: Turn, conversation: str, store: ConversationStore, client: QuestionClient) -> None:
    """Show the question and its progress until the answer is there."""
    with st.chat_message("user", avatar=":material/person:"):
        st.text(turn.question)
        st.caption(theme.format_time(turn.asked_at))
    with st.chat_message("assistant", avatar=":material/article:"):
        st.fragment(_poll, run_every=POLL_S)(turn, conversation, store, client)


def _poll(turn: Turn, conversation: str, store: ConversationStore, client: QuestionClient) -> None:
    with theme.show_errors():  # a fragment runs outside of its page
        _update(turn, conversation, store, client)


def _update(turn: Turn, conversation: str, store: ConversationStore, client: QuestionClient) -> None:
    asked_at = datetime.fromisoformat(turn.asked_at)
    record = client.answer(turn.document_id, asked_at)
    if record is not None:
        answer, error = question_client.answer_text(record, client.job)
        store.set_answer(turn.id, answer, str(record.provenance.get("engine", "")), error)
        st.rerun()
    if error := client.ensure_running():
        store.set_answer(turn.id, None, "none", f"The engine could not start. {error}")
        st.rerun()
    seconds = max(0.0, (datetime.now().astimezone() - asked_at).total_seconds())
    run = client.active_run()
    partial = run.answering.get(turn.document_id, "") if run else ""
    if partial:
        _show_partial(partial)
    state = "writing" if partial else progress_text(run, conversation, client)
    st.markdown(f":material/hourglass_top: {state} … {seconds:.0f} s")


def _show_partial(text: str) -> None:
    blocks = list(answer_markup.blocks(text))
    for block in blocks:
        end = CURSOR if block is blocks[-1] else ""
        if block.language is None:
            st.markdown(answer_markup.escape_prices(block.text) + end)
        else:
            st.code(block.text + end, language=answer_markup.highlight_language(block), wrap_lines=True)


def progress_text(run: ActiveRun | None, conversation: str, client: QuestionClient) -> str:
    """What a question is waiting for."""
    if run is None or run.state is None:
        return "starting the engine"
    if not answers_questions(run, client):
        if run.own:
            return f"engine {theme.escape_markdown(run.engine)} cannot answer questions; waiting for another engine"
        return f"waiting until run {theme.escape_markdown(run.run)} ends, which reads other documents"
    if run.ahead and client.queued(conversation):
        return f"waiting behind about {run.ahead} document{'s' * (run.ahead > 1)}"
    return "reading"


def answers_questions(run: ActiveRun, client: QuestionClient) -> bool:
    """Whether the active run reads the inbox of questions; true while that is unknown."""
    return run.inboxes is None or client.job.inbox in run.inboxes
