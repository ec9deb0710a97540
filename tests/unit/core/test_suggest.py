"""Suggestions for unknown words."""

import pytest

from pipeline.core.suggest import unknown


@pytest.mark.parametrize(
    ("word", "allowed", "message"),
    [
        ("lables", ["labels", "hint"], "unknown key; did you mean labels?"),
        ("synonyms", ["labels", "hint"], "unknown key; did you mean labels?"),
        ("inst", ["fields", "instructions"], "unknown key; did you mean instructions?"),
        ("xyz", ["labels", "hint"], "unknown key; allowed: labels, hint"),
        ("xyz", [], "unknown key"),
    ],
    ids=["typo", "synonym", "prefix", "nothing near", "nothing allowed"],
)
def test_the_nearest_word_is_suggested(word: str, allowed: list[str], message: str) -> None:
    assert unknown(word, allowed, "key") == message
