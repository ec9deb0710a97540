"""The picture of a page with boxes on it, as a part of any page."""

import base64
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import streamlit as st

_JS = """
export default function ({ data, parentElement, setTriggerValue }) {
  const host = parentElement.querySelector("#sheet")
  host.style.height = `${data.height_px}px`
  host.sheet ??= openSheet(host, { onChoose: path => { host.sheet.light(path); setTriggerValue("chosen", path) } })
  host.sheet.show(data)
  if (data.lit !== null) host.sheet.light(data.lit)
  return () => { host.sheet?.close(); host.sheet = undefined }
}
"""


def asset(name: str, package: str = "web.components") -> str:
    """A script or style of a package."""
    return files(package).joinpath(name).read_text("utf-8")


def picture(
    src: str | bytes,
    boxes: Sequence[Mapping[str, Any]] = (),
    *,
    key: str,
    size: tuple[int, int] | None = None,
    lit: str | None = None,
    height_px: int = 480,
) -> str | None:
    """A page that can be zoomed and moved; returns the path of a box that was just clicked.

    `src` is an address on this server or the bytes of a JPEG. `boxes` are dicts of path, x, y, width, height, label and
    mark ("", "doubt", "bad", "done") in the pixels of `size` (width, height); without a size in those of the picture.
    """
    part = st.components.v2.component(
        "scanmill_picture", html='<div id="sheet"></div>', css=asset("image.css"), js=asset("image.js") + _JS
    )
    if isinstance(src, bytes):
        src = "data:image/jpeg;base64," + base64.b64encode(src).decode("ascii")
    width, height = size or (0, 0)
    data = {"src": src, "boxes": [dict(box) for box in boxes], "lit": lit, "height_px": height_px}
    shown = part(key=key, data=data | {"width": width, "height": height}, on_chosen_change=lambda: None)
    chosen = shown.chosen
    return str(chosen) if chosen is not None else None
