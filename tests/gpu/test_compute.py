"""The engine's small parts: ranges of the pool, items of a step, confidences, schemas."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from tests.support import qwen_tiny as tiny

torch = tiny.torch

from models.qwen_vl.compute.attention import FULL, sdpa  # noqa: E402
from models.qwen_vl.compute.kernel_choice import Choice  # noqa: E402
from models.qwen_vl.compute.model_runner import TokenSpan, cut  # noqa: E402
from models.qwen_vl.compute.range_allocator import RangeAllocator  # noqa: E402
from models.qwen_vl.compute.torch_ops import Plain  # noqa: E402
from models.qwen_vl.inputs.grammar import Grammar, Unenforceable  # noqa: E402
from models.qwen_vl.scheduling.confidence import confidences, leaves  # noqa: E402


@given(some.lists(some.integers(1, 90), max_size=40), some.randoms(use_true_random=False))
def test_room_gives_no_row_twice_and_gets_all_back(sizes: list[int], dice: random.Random) -> None:
    room, held = RangeAllocator(512), []
    for size in sizes:
        start = room.take(size)
        if start is None:
            assert max((length for _, length in room.free), default=0) < -(-size // 16) * 16
            continue
        span = range(start, start + -(-size // 16) * 16)
        assert all(span.stop <= other.start or span.start >= other.stop for other, _ in held)
        held.append((span, size))
        if dice.random() < 0.4:
            gone, rows = held.pop(dice.randrange(len(held)))
            room.give_back(gone.start, rows)
    assert room.free_rows == 512 - sum(len(span) for span, _ in held)
    for span, size in held:
        room.give_back(span.start, size)
    assert room.free == [(0, 512)]


@settings(deadline=None, max_examples=60)
@given(
    some.lists(some.tuples(some.integers(1, 30), some.integers(0, 1500), some.integers(0, 3)), min_size=1, max_size=6),
    some.sampled_from([(0, 0), (2, 1), (9, 2), (32, 8)]),
    some.integers(1, 4),
)
def test_items_see_every_key_once(raw: list[tuple[int, int, int]], tile: tuple[int, int], most: int) -> None:
    """However a step is cut, each token sees its page whole and its own tokens up to itself, each key in one item."""
    pages = [(0, 0), (10_000, 700), (20_000, 64), (30_000, 1300)]
    raw.sort(key=lambda span: span[2])
    spans = [TokenSpan(n, 100_000 + 5_000 * i, stored, *pages[page]) for i, (n, stored, page) in enumerate(raw)]
    items, counts = cut(spans, *tile, most)
    seen: list[list[int]] = [[] for _ in counts]
    parts: list[list[int]] = [[] for _ in counts]
    for item in items:
        for i in range(item.tokens):
            keys = min(item.keys, item.causal + i + 1) if item.causal != FULL else item.keys
            seen[item.token + i] += range(item.key, item.key + max(0, keys))
            parts[item.token + i].append(item.part)
    token = 0
    for span in spans:
        for i in range(span.tokens):
            page = range(span.page, span.page + span.page_rows)
            assert sorted(seen[token]) == [*page, *range(span.own, span.own + span.stored + i + 1)]
            assert sorted(parts[token]) == list(range(counts[token]))
            token += 1
    if tile[0]:
        assert max(item.tokens for item in items) <= tile[0]


def test_cut_attention_equals_whole() -> None:
    dice = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(*shape, 16, generator=dice) for shape in ((40, 4), (2, 4000), (2, 4000)))
    spans = [
        TokenSpan(33, 2000, 900),
        TokenSpan(1, 3000, 700, 0, 1200),
        TokenSpan(2, 3800, 9, 0, 1200),
        TokenSpan(4, 3900, 0, 1300, 40),
    ]
    ops = Plain(Choice("sdpa", sdpa, ""))
    whole = ops.attend(q, k, v, cut(spans)[0], 0.25)
    for tile, short in ((6, 2), (32, 8)):
        assert torch.allclose(ops.attend(q, k, v, cut(spans, tile, short)[0], 0.25), whole, atol=1e-5)
    flash = Plain(Choice("torch-flash", sdpa, ""))  # the way of the flash kernels, with the plain kernel in their place
    assert torch.allclose(flash.attend(q, k, v, cut(spans)[0], 0.25), whole, atol=1e-5)


def test_confidence_of_a_leaf_is_the_product_over_its_tokens() -> None:
    text = '{"total": 12.5, "who": {"name": "Bär"}, "lines": [{"n": 1}, {"n": null}]}'
    pieces = ['{"', "total", '": ', "12", ".5", ', "who": {"name": "', "B", "är"]
    pieces += ['"}, "lines": [{"n": ', "1", '}, {"n": ', "null", "}]}"]
    assert "".join(pieces) == text
    ends = np.cumsum([len(piece.encode()) for piece in pieces]).tolist()
    logprobs = [-9.0, -9.0, -9.0, -0.1, -0.2, 0.0, -0.3, -0.4, 0.0, -0.5, -9.0, -0.6, -9.0]
    found = confidences(text, ends, logprobs)
    want = {"total": -0.3, "who.name": -0.7, "lines[0].n": -0.5, "lines[1].n": -0.6}
    assert {path: math.log(value) for path, value in found.items()} == pytest.approx(want)
    assert confidences(text[:-4], ends, logprobs) == {}


LEAF = some.none() | some.booleans() | some.integers() | some.text(max_size=5)
NAME = some.text("abc", min_size=1)


@given(some.recursive(LEAF, lambda i: some.lists(i, max_size=3) | some.dictionaries(NAME, i, max_size=3)))
def test_leaves_are_where_json_says(value: object) -> None:
    import json

    text = json.dumps({"all": value})
    for path, first, last in leaves(text):
        assert path.startswith("all")
        assert not isinstance(json.loads(text[first:last]), dict | list)


@pytest.fixture(scope="module")
def grammar() -> Grammar:
    return Grammar((tiny.tokenizer_folder() / "tokenizer.json").read_text(encoding="utf-8"), 152064, 151645, 1)


@pytest.mark.parametrize("extra", [
    {"not": {"const": 1}}, {"type": "array", "uniqueItems": True}, {"type": "string", "pattern": "^(?=a)b"},
    {"if": {"const": 1}, "then": {"const": 2}}, {"type": "string", "format": "no-such-format"},
])  # fmt: skip
def test_schema_that_cannot_be_enforced_is_refused(grammar: Grammar, extra: dict[str, object]) -> None:
    with pytest.raises(Unenforceable):
        grammar.matcher({"type": "object", "properties": {"a": extra}, "required": ["a"]})


def test_forced_tokens_are_written_as_json_dumps_would(grammar: Grammar) -> None:
    matcher = grammar.matcher({
        "type": "object", "additionalProperties": False, "required": ["a", "b"],
        "properties": {"a": {"const": 1}, "b": {"enum": ["x", "y"]}},
    })  # fmt: skip
    forced = grammar.forced(matcher)
    from tokenizers import Tokenizer

    text = Tokenizer.from_file(str(tiny.tokenizer_folder() / "tokenizer.json")).decode(forced)
    assert '{"a": 1, "b": "'.startswith(text)
    assert len(text) > 10
