"""Render the HTML pages of the run report and the evaluation.

Text from file names and documents is hostile. jinja2 escapes all of it (autoescape is always on). Control and direction
characters in names are made visible. Links are relative and percent-encoded, so that no name can become a scheme. A
page is self-contained: no scripts, and no fonts or pictures from elsewhere.
"""

import base64
import io
import os
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_from_bytes

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from markupsafe import Markup

THUMBNAIL_BYTES = 12 * 1024
_INVISIBLE = re.compile("[\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")


def visible(text: object) -> str:
    """`text` with control characters, direction marks and lone surrogates as hex codes: `inv⟨202E⟩fdp.exe`.

    A surrogate for a byte of a file name that is not UTF-8 becomes that byte: `⟨FF⟩`.
    """

    def spell(character: str) -> str:
        point = ord(character)
        if 0xDC80 <= point <= 0xDCFF:
            return f"⟨{point - 0xDC00:02X}⟩"
        hidden = unicodedata.category(character) in ("Cc", "Cs") or _INVISIBLE.match(character) is not None
        return f"⟨{point:04X}⟩" if hidden else character

    return "".join(map(spell, str(text)))


def words(text: object) -> str:
    """As `visible`, for sentences: line breaks and tabs become blanks."""
    return visible(re.sub(r"[\r\n\t]+", " ", str(text)))


def sentence(text: object) -> "Markup":
    """As `words`, with text between backticks as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(words(text)))))


def link(target: PurePath | str, start: PurePath | str) -> str:
    """A relative, percent-encoded URL from the folder `start` to `target`; "" if there is none.

    Both are paths below the same folder (or both absolute). A file named `javascript:alert(1)` is safe: its colon is
    encoded, and the URL begins with `./` or `../`.
    """
    try:
        address = quote_from_bytes(os.fsencode(Path(os.path.relpath(target, start)).as_posix()), safe="/")
    except ValueError:  # another drive, a NUL, or a surrogate without a byte
        return ""
    return address if address.startswith("../") else f"./{address}"


def picture(jpeg: bytes) -> str:
    """A JPEG as a data URL, for `src`."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def thumbnail(image: NDArray[np.uint8], side_px: int = 280) -> bytes:
    """A JPEG of a page (RGB, uint8, height × width × 3) of at most `THUMBNAIL_BYTES`, and `side_px` on a side."""
    from PIL import Image

    small = Image.fromarray(np.ascontiguousarray(image)).convert("RGB")
    while True:
        small.thumbnail((side_px, side_px), Image.Resampling.BOX, reducing_gap=2.0)
        for quality in (70, 50, 30):
            buffer = io.BytesIO()
            small.save(buffer, "JPEG", quality=quality, optimize=True)
            if buffer.tell() <= THUMBNAIL_BYTES:
                return buffer.getvalue()
        side_px = side_px * 3 // 4


def span(seconds: float) -> str:
    """A duration for display: `0.4 s`, `12 s`, `3 min 05 s`, `7 h 12 min`."""
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def percent(share: float | None) -> str:
    """`0.968` as `96.8%`; a dash where there is none."""
    return "–" if share is None else f"{100 * share:.1f}%"


def render(template: str, values: Mapping[str, Any]) -> str:
    """Render `template` (a file beside this module) with `values`. A missing value raises an error.

    Lone surrogates, which UTF-8 cannot encode, are written as `\\udcff`.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        visible=visible, words=words, sentence=sentence, picture=picture, span=span, percent=percent
    )
    page = environment.get_template(template).render(values)
    return page.encode("utf-8", "backslashreplace").decode("utf-8")
