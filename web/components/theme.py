"""Style sheet, error messages and text formatting shared by all pages."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from html import escape
from pathlib import Path

import streamlit as st

from pipeline.core.errors import ConfigError, DocumentError, ScanmillError
from pipeline.plugins.formats import explain_error
from pipeline.reporting.html import words

_HERE = Path(__file__).parent
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_LOADS_NOTHING = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'


def apply_theme() -> None:
    """Add the style sheet to the current page."""
    st.html(f"<style>{(_HERE / 'theme.css').read_text('utf-8')}</style>")


def logout_link() -> None:
    """Show the logout link. The browser asks for confirmation if there are unsaved changes."""
    st.html('<a class="logout" href="logout">Log out</a>')


def plot_colours() -> dict[str, str]:
    """The colours of the current theme, light or dark: primary, green, orange, red."""
    kind = st.context.theme.type or "light"
    return {name: st.get_option(f"theme.{kind}.{name}Color") for name in ("primary", "green", "orange", "red")}


@contextmanager
def show_errors() -> Iterator[None]:
    """Show Scanmill's own errors as messages in place of the page."""
    try:
        yield
    except ConfigError as error:
        st.error("\n\n".join(escape_markdown(str(fault)) for fault in error.faults))
    except DocumentError as error:
        known = explain_error(error.code)
        st.error((f"{escape_markdown(error.detail)}\n\n" if error.detail else "") + f"{known.cause} {known.cure}")
    except ScanmillError as error:
        st.error(escape_markdown(str(error)))


def empty_state(title: str, hint: str = "") -> None:
    """Show a message in place of an empty page."""
    st.html(f'<div class="empty-state"><p>{escape(words(title))}</p><p>{escape(words(hint))}</p></div>')


def escape_markdown(text: object) -> str:
    """Untrusted text, escaped for Streamlit's Markdown."""
    return "".join(f"\\{sign}" if sign in r"\`*_{}[]<>()#+-.!|~$:" else sign for sign in words(text))


def format_time(at: str | datetime | None) -> str:
    """A time (or ISO 8601 text) in the local time zone; "" for None."""
    time = datetime.fromisoformat(at) if isinstance(at, str) else at
    return time.astimezone().strftime("%d %b %Y, %H:%M:%S") if time else ""


def show_unexpected_error(error: Exception) -> bool:
    """Log an unexpected error of a page and show a message."""
    logging.getLogger("scanmill.web").error("unexpected error on a page", exc_info=error)
    st.error("Unexpected error. No data was lost. Reload the page; the log of the server has the details.")
    return True


def safe_preview(html: str, key: str, height_px: int = 480) -> None:
    """Show untrusted HTML in a sandboxed frame without scripts and network access."""
    st.components.v2.component(
        "scanmill_preview",
        html='<iframe sandbox="" referrerpolicy="no-referrer" title="Preview"></iframe>',
        css="iframe { width: 100%; height: 100%; border: 1px solid #8884; border-radius: 8px; background: white; }",
        js="""export default function ({ data, parentElement }) {
          const frame = parentElement.querySelector("iframe")
          if (frame.dataset.shown !== data.html) { frame.srcdoc = data.html; frame.dataset.shown = data.html }
          frame.style.height = `${data.height_px}px`
        }""",
    )(key=key, data={"html": _LOADS_NOTHING + html, "height_px": height_px})
