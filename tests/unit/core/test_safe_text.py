"""Sanitized text cannot control a terminal, and escaped JSON reads the same."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.safe_text import json_text, printable, sanitize, sanitize_lines

ANY_TEXT = st.text(st.characters(categories=["L", "N", "P", "S", "Z", "C"]))


@pytest.mark.parametrize("control", ["\x1b[2J", "\n", "\r", "\x9b1m", "\u202e", "\u2066", "\u2028", "\x7f"])
def test_control_characters_are_replaced(control: str) -> None:
    assert sanitize(f"bill{control}.png").startswith("bill\ufffd")


def test_lines_stay_lines_where_they_are_wanted() -> None:
    assert sanitize_lines("one\n\x1btwo") == "one\n\ufffdtwo"


def test_a_name_that_is_not_utf8_can_be_printed() -> None:
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    assert printable(name) == "caf\ufffd.png"


@given(ANY_TEXT)
def test_escaped_json_reads_as_the_same_text(text: str) -> None:
    written = json_text(json.dumps(text, ensure_ascii=False))
    assert json.loads(written) == text
    assert sanitize(written) == written, "it has no character that a terminal would obey"
