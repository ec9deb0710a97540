"""Review: what was read, the doubtful first."""

import streamlit as st

from web import look
from web.place import here


def page() -> None:
    """The page."""
    root = here().root
    jobs = here().jobs()
    st.subheader("Review")
    look.nothing("Nothing waits for review.", f"{root} holds {len(jobs)} jobs.")
