"""The script that Streamlit runs for every session: the navigation and what all pages share."""

from pathlib import Path

import streamlit as st

from web.components import theme
from web.context import current_context
from web.pages import ask, review, runs

st.set_page_config(page_title="Scanmill", page_icon=Path(__file__).with_name("icon.svg"), layout="wide")
theme.apply_theme()
page = st.navigation(
    [
        st.Page(review.page, title="Review", url_path="review", icon=":material/fact_check:", default=True),
        st.Page(ask.page, title="Ask", url_path="ask", icon=":material/forum:"),
        st.Page(runs.page, title="Runs", url_path="runs", icon=":material/monitoring:"),
    ],
    position="top",
)
if current_context().settings.web.password:
    theme.logout_link()
with theme.show_errors():
    page.run()
