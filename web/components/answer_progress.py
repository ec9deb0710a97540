"""A question on its way: the answer as it grows where the engine tells, else who is asked, and for how many seconds."""

from datetime import datetime

import streamlit as st

from web.components import theme
from web.data import answer_markup, question_client
from web.data.conversations import History, Turn
from web.data.question_client import Owner, QuestionClient

POLL_S = 0.5
CARET = " ▍"


def waiting_for(turn: Turn, conversation: str, history: History, desk: QuestionClient) -> None:
    """The question, and below it how far its answer is."""
    with st.chat_message("user", avatar=":material/person:"):
        st.text(turn.question)
        st.caption(theme.moment(turn.asked_at))
    with st.chat_message("assistant", avatar=":material/article:"):
        st.fragment(_poll, run_every=POLL_S)(turn, conversation, history, desk)


def _poll(turn: Turn, conversation: str, history: History, desk: QuestionClient) -> None:
    with theme.show_errors():  # a fragment runs outside of the page that it belongs to
        _look(turn, conversation, history, desk)


def _look(turn: Turn, conversation: str, history: History, desk: QuestionClient) -> None:
    asked = datetime.fromisoformat(turn.asked_at)
    record = desk.answer(turn.document_id, asked)
    if record is not None:
        answer, why = question_client.said(record, desk.job)
        history.answered(turn.id, answer, str(record.provenance.get("engine", "")), why)
        st.rerun()
    if trouble := desk.see_to_it():
        history.answered(turn.id, None, "none", f"No engine could start. {trouble}")
        st.rerun()
    gone = max(0.0, (datetime.now().astimezone() - asked).total_seconds())
    owner = desk.owner()
    text = owner.answering.get(turn.document_id, "") if owner else ""
    if text:
        _growing(text)
    st.markdown(
        f":material/hourglass_top: {'writing' if text else progress_text(owner, conversation, desk)} … {gone:.0f} s"
    )


def _growing(text: str) -> None:
    """The answer so far, in plain dress."""
    so_far = list(answer_markup.parts(text))
    for part in so_far:
        end = CARET if part is so_far[-1] else ""
        if part.language is None:
            st.markdown(answer_markup.prose(part.text) + end)
        else:
            st.code(part.text + end, language=answer_markup.highlighting(part), wrap_lines=True)


def progress_text(owner: Owner | None, conversation: str, desk: QuestionClient) -> str:
    if owner is None or owner.state is None:
        return "starting the engine"
    if not serves(owner, desk):
        if owner.mine:
            return f"the engine {theme.plain(owner.engine)} cannot answer questions; this one waits for another engine"
        return f"waiting until run {theme.plain(owner.run)} ends, which reads other documents"
    if owner.ahead and desk.queued(conversation):
        return f"waiting behind about {owner.ahead} document{'s' * (owner.ahead > 1)}"
    return "looking"


def serves(owner: Owner, desk: QuestionClient) -> bool:
    """Whether whoever holds the root answers questions, as far as it has said."""
    return owner.boxes is None or desk.job.inbox in owner.boxes
