"""Streamlit component: a page image with boxes, zoom and rotation."""

import base64
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import streamlit as st

_JS = """
export default function ({ data, parentElement }) {
  const host = parentElement.querySelector("#viewer")
  host.style.height = `${data.height_px}px`
  host.viewer ??= openViewer(host, { onChoose: path => host.viewer.highlight(path) })
  host.viewer.show(data)
  return () => { host.viewer?.close(); host.viewer = undefined }
}
"""


def asset(name: str, package: str = "web.components") -> str:
    """A script or style of a package."""
    return files(package).joinpath(name).read_text("utf-8")


def show_image(
    src: str | bytes,
    boxes: Sequence[Mapping[str, Any]] = (),
    *,
    key: str,
    size: tuple[int, int] | None = None,
    height_px: int = 480,
) -> None:
    """Show a page image that can be zoomed and moved; a click on a box highlights it.

    `src` is an address on this server or the bytes of a JPEG. `boxes` are dicts with path, x, y, width, height, label
    and mark ("", "doubt", "bad", "done"), in pixels of `size` (width, height) or, without it, of the image.
    """
    component = st.components.v2.component(
        "scanmill_picture", html='<div id="viewer"></div>', css=asset("image.css"), js=asset("image.js") + _JS
    )
    if isinstance(src, bytes):
        src = "data:image/jpeg;base64," + base64.b64encode(src).decode("ascii")
    width, height = size or (0, 0)
    data = {"src": src, "boxes": [dict(box) for box in boxes], "height_px": height_px, "width": width, "height": height}
    component(key=key, data=data)
