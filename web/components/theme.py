"""How the pages look and speak: the style over Streamlit's, and errors as sentences."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import streamlit as st

from pipeline.core.errors import ConfigError, DocumentError, ScanmillError
from pipeline.plugins.formats import explain_error
from pipeline.reporting.html import words

_HERE = Path(__file__).parent
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_LOADS_NOTHING = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'


def apply_theme() -> None:
    """Puts the style on the page that is being made."""
    st.html(f"<style>{(_HERE / 'theme.css').read_text('utf-8')}</style>")


def way_out() -> None:
    """The link that ends the visitor's login; the browser asks first where something is not saved."""
    st.html('<a class="way-out" href="logout">Log out</a>')


def colours() -> dict[str, str]:
    """The theme's colours for plots, as this visitor sees the page, light or dark: primary, green, orange, red."""
    kind = st.context.theme.type or "light"
    return {name: st.get_option(f"theme.{kind}.{name}Color") for name in ("primary", "green", "orange", "red")}


@contextmanager
def show_errors() -> Iterator[None]:
    """What stops a page is told in words, where the page would stand."""
    try:
        yield
    except ConfigError as error:
        st.error("\n\n".join(plain(str(fault)) for fault in error.faults))
    except DocumentError as error:
        known = explain_error(error.code)
        st.error((f"{plain(error.detail)}\n\n" if error.detail else "") + f"{known.cause} {known.cure}")
    except ScanmillError as error:
        st.error(plain(str(error)))


def nothing(title: str, more: str = "") -> None:
    """What an empty page says instead of standing empty."""
    st.html(f'<div class="nothing"><p>{escaped(title)}</p><p>{escaped(more)}</p></div>')


def escaped(text: object) -> str:
    """Text from documents and file names, for HTML."""
    from html import escape

    return escape(words(text))


def plain(text: object) -> str:
    """Text from documents and file names, for Streamlit's Markdown: every sign stands for itself."""
    said = words(text)
    return "".join(f"\\{sign}" if sign in r"\`*_{}[]<>()#+-.!|~$:" else sign for sign in said)


def moment(at: str | datetime | None) -> str:
    """A time, or one as ISO 8601 has it, as people read it here."""
    found = datetime.fromisoformat(at) if isinstance(at, str) else at
    return found.astimezone().strftime("%d %b %Y, %H:%M:%S") if found else ""


def mishap(error: Exception) -> bool:
    """What a visitor reads when a page fails in a way that nobody foresaw; the terminal has the whole of it."""
    logging.getLogger("scanmill.web").error("a page failed", exc_info=error)
    st.error(
        "Something went wrong on this page. Nothing was lost; load it again. The terminal of the server says more."
    )
    return True


def safe_preview(html: str, key: str, height_px: int = 480) -> None:
    """A page that a model wrote, shown in a frame that may run nothing, load nothing and reach nothing."""
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
