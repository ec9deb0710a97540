"""The engine gives the tokens that transformers' `generate` gives, however requests are mixed, batched and cut."""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.support import qwen_tiny as tiny

torch = tiny.torch

from models.qwen_vl import CELL_PX, page_spec  # noqa: E402
from models.qwen_vl.compute.attention import sdpa  # noqa: E402
from models.qwen_vl.compute.kernel_choice import Choice, pick  # noqa: E402
from models.qwen_vl.compute.kv_cache import KVCache  # noqa: E402
from models.qwen_vl.compute.language_model import Language  # noqa: E402
from models.qwen_vl.compute.torch_ops import Plain  # noqa: E402
from models.qwen_vl.compute.vision_encoder import Vision  # noqa: E402
from models.qwen_vl.engine import ContinuousBatchEngine  # noqa: E402
from models.qwen_vl.inputs.chat_template import Prompts  # noqa: E402
from models.qwen_vl.inputs.grammar import Grammar  # noqa: E402
from models.qwen_vl.scheduling import reply_builder  # noqa: E402
from pipeline.core.geometry import Affine  # noqa: E402
from pipeline.core.types import Document, Page  # noqa: E402
from pipeline.engine import Partial, Reply, Request  # noqa: E402
from pipeline.extraction import prompt  # noqa: E402
from pipeline.schema.job import Job, parse_job  # noqa: E402

SIZES = ((112, 56), (56, 56), (140, 84), (252, 84), (84, 196), (84, 56), (308, 140), (168, 168))
QUESTIONS = (
    "Read the total.", "Which date stands on the page?", "List all items, one a line.", "Who sent this, from where?",
    "Is it signed?", "Give the number of the invoice. " * 4,
)  # fmt: skip
SCHEMA = {
    "type": "object", "additionalProperties": False,
    "required": ["invoice_number", "date", "currency", "total", "lines"],
    "properties": {
        "invoice_number": {"type": "string", "maxLength": 8}, "date": {"type": "string", "format": "date"},
        "currency": {"enum": ["EUR", "USD", None]},
        "total": {"type": ["number", "null"], "minimum": 0, "maximum": 99999},
        "lines": {"type": "array", "minItems": 1, "maxItems": 2, "items": {
            "type": "object", "additionalProperties": False, "required": ["text", "n"],
            "properties": {
                "text": {"type": "string", "maxLength": 6}, "n": {"type": "integer", "minimum": 1, "maximum": 99}}}},
    },
}  # fmt: skip
YES_NO = {
    "type": "object",
    "required": ["signed"],
    "additionalProperties": False,
    "properties": {"signed": {"type": "boolean"}},
}


class Tiled(Plain):
    """Cuts its work into tiles and splits ranges as the GPU kernels do."""

    tile_rows, short_rows = 12, 4


class House:
    """One model for the engine and the reference: the engine only makes transformers' weights views of its own."""

    def __init__(self, folder: Any) -> None:
        self.reference = tiny.model()
        self.prompts = Prompts(folder)
        self.device, self.dtype = torch.device(tiny.DEVICE), torch.float32
        self.ops, _ = pick(self.device, self.dtype, 16, 16)
        self.grammar = Grammar(self.prompts.json, 152064, self.prompts.end, 2)
        self.pages = [tiny.page(i, *size) for i, size in enumerate(SIZES)]
        self.known: dict[Any, list[int]] = {}
        self.weights: dict[Any, tuple[Language, Vision]] = {}

    def engine(
        self,
        *,
        kv: int = 6000,
        step: int = 96,
        answers: int = 32,
        vision: int = 64,
        ops: Any = None,
        jump: bool = True,
        images: int = 512,
        capture: bool = False,
    ) -> ContinuousBatchEngine:
        ops = ops or self.ops
        if ops not in self.weights:
            self.weights[ops] = (Language(self.reference, ops), Vision(self.reference.model.visual, ops))
        language, vision_ = self.weights[ops]
        cache = KVCache(3, 2, 16, kv, self.dtype, self.device)
        buffer = torch.zeros(images, 64, device=self.device)
        made = ContinuousBatchEngine(language, vision_, self.prompts, page_spec(), cache, buffer, grammar=self.grammar,
                      step_tokens=step, vision_tokens=vision, answers=answers, jump=jump)  # fmt: skip
        if capture:
            made.runner.capture()
        return made

    def expected(self, request: Request) -> list[int]:
        key = (tuple(id(page) for page in request.pages), request.question, request.max_new_tokens)
        if key not in self.known:
            self.known[key] = tiny.generate(self.reference, request, self.prompts, sorted(self.prompts.ends))
        return self.known[key]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tiny.folder(tmp_path_factory.mktemp("weights")))


def tokens_of(house: House, reply: Reply) -> list[int]:
    ids: list[int] = house.prompts.tokenizer(reply.text, add_special_tokens=False)["input_ids"]
    return ids


def assert_same(house: House, given: Sequence[Reply | Partial], count: int) -> None:
    """Text, length and end of every reply are those of `generate`. On a slow machine there are partial ones before."""
    replies = [reply for reply in given if isinstance(reply, Reply)]
    assert len(replies) == count
    for reply in replies:
        want = house.expected(reply.request)
        ended = want[-1] in house.prompts.ends
        kept = want[:-1] if ended else want
        assert reply.text == house.prompts.text(kept), reply.request.question
        assert reply.new_tokens == len(kept) == len(reply.logprobs)
        assert reply.finish == ("stop" if ended else "length")


def everything_free(engine: ContinuousBatchEngine) -> None:
    scheduler, cache, memory = engine.scheduler, engine.scheduler.cache, engine.scheduler.memory
    assert scheduler.idle
    kept = sum(-(-entry.length // 16) * 16 for entry in cache.idle.values())
    assert memory.free_rows == memory.rows - kept
    for entry in list(cache.idle.values()):
        cache.evict(entry)
    assert memory.allocator.free == [(0, memory.rows)]
    assert cache.images.free == [(0, cache.images.rows)]
    assert not [entry for entry in cache.entries.values() if entry.length]


@pytest.mark.parametrize("seed", range(62))
def test_any_mix_equals_generate(house: House, seed: int) -> None:
    dice = random.Random(seed)
    sights = [[i] for i in dice.sample(range(8), dice.randint(1, 4))]
    if dice.random() < 0.4:
        sights.append([2, 0])
    if dice.random() < 0.2:
        sights.append([5, 3, 1])
    asked = [(sight, q) for sight in sights for q in dice.sample(range(6), dice.randint(1, 6))]
    if dice.random() < 0.6:
        dice.shuffle(asked)
    requests: list[Request | None] = []
    for sight, q in asked:
        requests += [None] * (dice.random() < 0.2)
        requests.append(tiny.ask([house.pages[i] for i in sight], QUESTIONS[q], most=8))
    ops = dice.choice([None, None, house_tiled(house)]) if tiny.DEVICE == "cpu" else None
    engine = house.engine(
        kv=dice.choice([6000, 1200, 640]), step=dice.choice([24, 64, 200]), answers=dice.choice([2, 8, 32]),
        vision=dice.choice([24, 200]), images=dice.choice([160, 512]), ops=ops, capture=seed % 8 == 0,
    )  # fmt: skip
    assert_same(house, list(engine.answer(iter(requests))), len(asked))
    everything_free(engine)


def house_tiled(house: House) -> Plain:
    tiled = next((ops for ops in house.weights if isinstance(ops, Tiled)), None)
    return tiled or Tiled(Choice("sdpa", sdpa, ""))


def test_answers_differ(house: House) -> None:
    """Else the test above would prove nothing."""
    requests = [tiny.ask([p], q, most=8) for p in house.pages[:4] for q in QUESTIONS[:3]]
    assert len({tuple(house.expected(r)) for r in requests}) > 8


def test_kept_page_is_not_looked_at_again(house: House) -> None:
    engine = house.engine()
    list(engine.answer([tiny.ask([house.pages[3]], QUESTIONS[0], most=4)]))
    before = engine.step_sizes
    replies = list(engine.answer([tiny.ask([house.pages[3]], QUESTIONS[1], most=4)]))
    assert engine.step_sizes - before < 40  # question and answer, not the page
    assert engine.scheduler.cache.hits == 1
    replies += engine.answer(
        [tiny.ask([tiny.shown(house.pages[3].image.copy())], QUESTIONS[2], most=4)]
    )  # equal pixels
    assert engine.scheduler.cache.hits == 2
    for reply in replies:
        same = tiny.ask([house.pages[3]], reply.request.question, most=4)
        assert reply.text == house.prompts.text([t for t in house.expected(same) if t not in house.prompts.ends])


def test_least_recently_used_page_leaves_first(house: House) -> None:
    engine = house.engine(kv=144)
    for i in (0, 1, 0, 4, 7, 3):
        list(engine.answer([tiny.ask([house.pages[i]], QUESTIONS[0], most=4)]))
    cache = engine.scheduler.cache
    kept = [entry.image_tokens for entry in cache.idle.values()]
    assert 0 < len(kept) < 5
    assert kept == [4, 8, 21, 36, 27][-len(kept) :]  # visual tokens of the pages, in the order of their last question
    assert cache.entries.keys() == cache.idle.keys()


def test_preempted_answers_end_as_if_undisturbed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.qwen_vl.scheduling.scheduler.GROWTH", 8)
    engine = house.engine(kv=400)
    requests = [tiny.ask([house.pages[i]], q, most=30) for i in (0, 1, 5) for q in QUESTIONS[:4]]
    assert_same(house, list(engine.answer(requests)), len(requests))
    assert engine.scheduler.preemptions > 0
    everything_free(engine)


def test_no_room_for_pictures_never_stops_the_line(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pushed-out pages come back for room that pages behind them hold."""
    monkeypatch.setattr("models.qwen_vl.scheduling.scheduler.GROWTH", 4)
    engine = house.engine(kv=224, images=64, vision=8, answers=4)
    requests = [tiny.ask([house.pages[i]], QUESTIONS[q], most=8) for q in range(3) for i in (3, 0, 7, 4)]
    assert_same(house, list(engine.answer(requests)), len(requests))
    everything_free(engine)


def test_replies_leave_before_later_requests_are_pulled(house: House) -> None:
    engine = house.engine()
    pulled = 0

    def source() -> Iterator[Request]:
        nonlocal pulled
        for i in range(200):
            pulled += 1
            yield tiny.ask([house.pages[i % 2]], QUESTIONS[i % 3], most=1 + i % 3)

    stream = engine.answer(source())
    next(stream)
    assert pulled < 100
    stream.close()
    assert engine.scheduler.idle
    assert_same(house, list(engine.answer([tiny.ask([house.pages[0]], QUESTIONS[0], most=8)])), 1)


def test_closing_with_replies_unread_leaves_nothing_for_the_next_stream(house: House) -> None:
    engine = house.engine()
    asked = [tiny.ask([house.pages[1]], question, most=1) for question in QUESTIONS[:4]]
    list(engine.answer(asked[:1]))  # so that the two others, pulled in one turn, end in one step
    stream = engine.answer(asked[1:3])
    next(stream)
    assert engine.finished, "a reply waits to be read"
    assert engine.scheduler.idle, "and nothing else is under way"
    stream.close()
    later = tiny.ask([house.pages[0]], QUESTIONS[0], most=2)
    assert [reply.request for reply in engine.answer([later])] == [later]


@pytest.mark.parametrize("number", [float("nan"), float("-inf")])
def test_numbers_that_are_not_finite_are_an_error(house: House, number: float) -> None:
    engine = house.engine()
    engine.runner.answers = lambda n: ([1000] * n, [number] * n, [number] * n)  # type: ignore[method-assign]
    (reply,) = engine.answer([tiny.ask([house.pages[1]], QUESTIONS[0], YES_NO, most=20)])
    assert isinstance(reply, Reply)
    assert reply.finish == "error"
    assert "not finite" in (reply.error or "")
    assert reply.confidence == {}
    everything_free(engine)


@pytest.mark.parametrize("jump", [True, False])
@pytest.mark.parametrize("capture", [False, True])
def test_constrained_tokens_are_the_references_choice(house: House, jump: bool, capture: bool) -> None:
    """Every sampled token is the masked argmax of the reference after the same tokens; the text obeys the schema."""
    engine = house.engine(jump=jump, kv=3000, step=64, capture=capture)
    asked = tuple(zip(QUESTIONS[:3], (SCHEMA, YES_NO, None), strict=True))
    requests = [tiny.ask([house.pages[i]], question, schema, most=70) for i in (0, 2) for question, schema in asked]
    seen: list[Any] = []
    finish = engine.finish

    def note(answer: Any, reply: Reply) -> None:
        seen.append(answer)
        finish(answer, reply)

    engine.finish = note  # type: ignore[method-assign]
    replies = list(engine.answer(requests))
    assert len(replies) == len(seen) == 6
    sampled = forced = 0
    for answer in seen:
        tokens = answer.tokens[answer.prompt_length :]
        logits = tiny.next_logits(house.reference, answer.request, house.prompts, tokens).cpu()
        matcher = None if answer.request.schema is None else house.grammar.matcher(answer.request.schema)
        allowed = np.full((1, 4752), -1, np.int32)
        for i, token in enumerate(tokens):
            house.grammar.fill([matcher], allowed)
            keep = torch.from_numpy((allowed[0][:, None] >> np.arange(32) & 1).astype(bool).ravel())
            row = logits[i].masked_fill(~keep, -torch.inf)
            if answer.sampled[i]:
                assert int(row.argmax()) == token
                assert answer.logprobs[i] == pytest.approx(float(row.log_softmax(-1)[token]), abs=2e-3)
                assert answer.free_logprobs[i] == pytest.approx(float(logits[i].log_softmax(-1)[token]), abs=2e-3)
                sampled += 1
            else:
                assert answer.logprobs[i] == 0.0
                forced += 1
            if matcher is not None:
                house.grammar.consume([(matcher, token)])
    for reply in replies:
        if reply.request.schema is not None and reply.finish == "stop":
            found = json.loads(reply.text)
            assert list(found) == list(reply.request.schema["properties"])
            assert all(0 <= p <= 1 for p in reply.confidence.values())
            assert reply.confidence.keys() >= {k for k, v in found.items() if not isinstance(v, list)}
    assert sampled > 60
    assert (forced > 40) == jump


def test_loop_stops_as_truncated(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.qwen_vl.scheduling.sequences.LOOP_TOKENS", 48)
    monkeypatch.setattr("models.qwen_vl.scheduling.sequences.LONGEST_LOOP", 16)
    engine = house.engine()
    engine.runner.answers = lambda n: ([1000, 2000, 3000][:n], [-1.0] * n, [-1.0] * n)  # type: ignore[method-assign]
    replies = list(engine.answer([tiny.ask([house.pages[1]], QUESTIONS[0], most=600)]))
    assert replies[0].finish == "length"
    assert 48 <= replies[0].new_tokens < 100


def test_pages_of_any_shape_are_answered_or_refused(house: House) -> None:
    rng = np.random.default_rng(0)
    good = [
        rng.integers(0, 256, shape, dtype=np.uint8)
        for shape in ((1, 1, 3), (28, 560, 3), (60, 90), (50, 70, 4), (33, 47, 1))
    ]
    bad = [np.zeros((28, 28 * 201, 3), np.uint8), np.zeros((28, 28, 3), np.float32), np.zeros((28, 28, 5), np.uint8)]
    requests = [tiny.ask([tiny.shown(i)], QUESTIONS[0], most=3) for i in [*good, *bad]]
    requests.insert(4, tiny.ask([house.pages[0]], QUESTIONS[0], most=8))
    replies = {reply.request: reply for reply in house.engine().answer(requests)}
    assert [replies[r].finish == "error" for r in requests] == [False] * 6 + [True] * 3
    assert "long and thin" in (replies[requests[6]].error or "")
    assert_same(house, [replies[requests[4]]], 1)


def test_requests_that_cannot_be_served_leave_the_others_alone(house: House) -> None:
    impossible = {"type": "object", "properties": {"a": {"type": "string"}}, "not": {"required": ["a"]}}
    endless = {"type": "string", "pattern": "^a{10000}$"}
    single = {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"], "additionalProperties": False}
    page = house.pages[0]
    requests = [
        tiny.ask([page], QUESTIONS[0], most=8),
        tiny.ask([page], "word " * 5000, most=8),
        tiny.ask([page], QUESTIONS[1], impossible, most=8),
        tiny.ask([page], QUESTIONS[1], {}, most=8),
        tiny.ask([page], QUESTIONS[1], endless, most=40),
        tiny.ask([page], "a picture: <|image_pad|>", most=8),
        tiny.ask([page], QUESTIONS[2], most=0),
        tiny.ask([], QUESTIONS[1], most=5),
        tiny.ask([page], QUESTIONS[2], most=8),
        tiny.ask([page], QUESTIONS[2], single, most=8),
        tiny.ask([page], QUESTIONS[2], single, most=4),
    ]
    engine = house.engine()
    replies = {reply.request: reply for reply in engine.answer(requests)}
    assert len(replies) == len(requests)
    finishes = [replies[r].finish for r in requests]
    assert finishes[1] == finishes[2] == finishes[5] == finishes[6] == "error"
    assert "4,096" in (replies[requests[1]].error or "")
    assert "error" not in (finishes[3], finishes[7])
    assert (finishes[4], finishes[9], finishes[10]) == ("length", "stop", "length")
    assert replies[requests[9]].text == '{"a": 1}'
    assert set(replies[requests[4]].text) <= set('"a')
    assert_same(house, [replies[requests[0]], replies[requests[8]]], 2)
    everything_free(engine)


def test_more_questions_than_the_pool_can_hold(house: House) -> None:
    engine = house.engine(kv=320, answers=64)
    requests = [tiny.ask([house.pages[1]], QUESTIONS[i % 6], most=8) for i in range(40)]
    assert_same(house, list(engine.answer(requests)), 40)


def test_page_beyond_the_pool_is_asked_in_low_resolution_or_fails_alone(house: House) -> None:
    large = tiny.page(90, 1120, 560)  # 800 tokens; 768 px leave 27 × 14 = 378
    engine = house.engine(kv=600, images=1024)
    good = tiny.ask([house.pages[0]], QUESTIONS[0], most=8)
    replies = {r.request: r for r in engine.answer([tiny.ask([large], QUESTIONS[0], most=4), good])}
    first = next(r for r in replies.values() if r.request is not good)
    assert first.finish == "length"
    assert first.low_resolution
    assert_same(house, [replies[good]], 1)
    everything_free(engine)
    engine = house.engine(kv=300, images=1024)
    replies = {r.request: r for r in engine.answer([good, tiny.ask([large], QUESTIONS[0], most=4)])}
    failed = next(r for r in replies.values() if r.request is not good)
    assert failed.finish == "error"
    assert "KV cache holds 288" in (failed.error or "")
    assert_same(house, [replies[good]], 1)
    everything_free(engine)


def test_out_of_memory_halves_the_work_and_goes_on(house: House) -> None:
    engine = house.engine(step=96, vision=400, images=1024)
    forward, encode = engine.runner.forward, engine.vision.encode
    refused = {"steps": 0, "passes": 0}

    def tight_forward(prepared: Any, source: Any) -> None:
        if len(source) > 30:
            refused["steps"] += 1
            raise torch.OutOfMemoryError("no room")
        forward(prepared, source)

    def tight_encode(images: Any, *rest: Any) -> Iterator[None]:
        if sum(i.size for i in images) > 120 * CELL_PX**2 * 3:
            refused["passes"] += 1
            raise torch.OutOfMemoryError("no room")
        yield from encode(images, *rest)

    engine.runner.forward = tight_forward  # type: ignore[method-assign]
    tight = type("Tight", (), {"encode": staticmethod(tight_encode), "layers": engine.vision.layers})()
    engine.vision_runner.vision = tight
    requests = [tiny.ask([house.pages[i]], q, most=8) for i in (0, 2, 4, 6) for q in QUESTIONS[:2]]
    large = tiny.ask([tiny.page(91, 1120, 280)], QUESTIONS[0], most=3)  # 400 tokens: fits in low resolution only
    huge = tiny.ask([tiny.page(92, 840, 840)], QUESTIONS[0], most=3)  # 729 tokens in low resolution
    replies = list(engine.answer([*requests, large, huge]))
    assert_same(house, [r for r in replies if r.request in requests], len(requests))
    assert refused["steps"] > 0
    assert refused["passes"] > 1
    small = next(r for r in replies if r.request is large)
    assert small.low_resolution
    lost = next(r for r in replies if r.request is huge)
    assert lost.finish == "error"
    assert "does not fit" in (lost.error or "")
    everything_free(engine)


def pictures_seen(engine: ContinuousBatchEngine) -> list[int]:
    """How many pictures the vision tower gets, a pass each, from now on."""
    seen: list[int] = []
    vision = engine.vision

    def encode(images: Any, *rest: Any) -> Iterator[None]:
        seen.append(len(images))
        yield from vision.encode(images, *rest)

    watched = type("Watched", (), {"encode": staticmethod(encode), "layers": vision.layers})()
    engine.vision_runner.vision = watched
    return seen


def asked_of(job: Job, document: Document, images: Sequence[Any]) -> Request:
    pages = tuple(Page(n + 1, image.shape[1], image.shape[0], Affine(), image) for n, image in enumerate(images))
    return replace(prompt.ask(job, document, pages), max_new_tokens=6)


def test_follow_ups_and_other_jobs_look_at_no_picture_again(house: House) -> None:
    """Documents differ in id and question, jobs in role and form; the pictures were decoded anew each time."""
    engine = house.engine()
    seen = pictures_seen(engine)
    ask = parse_job(b"name: ask\nquestions: true\nfields: {answer: {type: prose}}\n")
    date = parse_job(b"name: form\ninbox: other\nrole: You read dials.\nfields: {reading: {type: number}}\n")
    images = [tiny.page(70, 112, 56).image, tiny.page(71, 84, 84).image]
    turns = (("What is this?", "A dial."), ("Which unit?", "MPa"))

    def document(number: int) -> Document:
        paths = (Path("1.png"), Path("2.png"))
        now = datetime(2026, 11, 22, tzinfo=UTC)
        return Document(
            str(number),
            "c",
            Path(),
            "ask",
            now,
            1,
            ("What is this?", "Which unit?", "And in bar?")[number],
            turns[:number],
            paths,
        )

    first = asked_of(ask, document(0), [np.array(image) for image in images])
    assert_same(house, list(engine.answer([first])), 1)
    assert sum(seen) == 2
    rest = [asked_of(ask, document(number), [np.array(image) for image in images]) for number in (1, 2)]
    assert_same(house, list(engine.answer(rest)), 2)  # another batch of `watch`
    plain = replace(document(0), id="3", question=None)
    replies = list(engine.answer([asked_of(date, plain, [np.array(image) for image in images])]))
    assert replies[0].finish != "error"
    assert sum(seen) == 2
    assert_same(house, list(engine.answer([asked_of(ask, replace(document(2), id="4", parts=()), [])])), 1)
    assert sum(seen) == 2
    other = asked_of(ask, document(0), [images[1], images[0]])
    assert_same(house, list(engine.answer([other])), 1)
    assert sum(seen) == 4  # another order is another sight


def test_jobs_on_one_inbox_share_the_page(house: House) -> None:
    engine = house.engine()
    seen = pictures_seen(engine)
    jobs = [
        parse_job(b"name: a\nrole: You audit invoices.\nfields: {total: {type: money}}\n"),
        parse_job(b"name: b\ninbox: a\nrole: You describe.\nfields: {words: {type: prose}}\n"),
        parse_job(b"name: c\ninbox: a\ninstructions: Look hard.\nfields: {signed: {type: yesno}, on: {type: date}}\n"),
    ]
    page = tiny.page(72, 140, 84)
    replies = list(engine.answer([replace(prompt.ask(job, tiny.DOCUMENT, (page,)), max_new_tokens=4) for job in jobs]))
    assert sorted(reply.request.job.name for reply in replies) == ["a", "b", "c"]
    assert sum(seen) == 1


def watched(request: Request) -> Request:
    asked: Any = SimpleNamespace(name="ask", fields={}, questions=True)
    return replace(request, job=asked)


def told(
    engine: ContinuousBatchEngine, requests: list[Request]
) -> tuple[dict[Request, list[str]], dict[Request, Reply]]:
    """What was told of each request before its reply, and the replies."""
    partials: dict[Request, list[str]] = {request: [] for request in requests}
    replies: dict[Request, Reply] = {}
    for given in engine.answer(requests):
        assert given.request not in replies, "told after the reply"
        if isinstance(given, Partial):
            partials[given.request].append(given.text)
        else:
            replies[given.request] = given
    return partials, replies


def test_questions_are_told_as_their_answers_grow(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply_builder, "SEQUENCE_PERIOD_S", 0.0)
    monkeypatch.setattr(reply_builder, "ANY_PERIOD_S", 0.0)
    plain = tiny.ask([house.pages[0]], QUESTIONS[0], most=40)
    typed = watched(tiny.ask([house.pages[0]], QUESTIONS[1], YES_NO, most=40))
    asked = [watched(tiny.ask([house.pages[i]], QUESTIONS[2], most=40)) for i in range(3)]
    cramped = house.engine(kv=700)  # answers are put off, and gone on with
    for engine in (house.engine(), cramped):
        partials, replies = told(engine, [plain, typed, *asked])
        assert_same(house, [reply for request, reply in replies.items() if request is not typed], 4)
        assert partials.pop(plain) == partials.pop(typed) == []
        for request, texts in partials.items():
            assert len(texts) > 5
            assert all(replies[request].text.startswith(text) for text in texts)
            assert texts == sorted(texts, key=len)
        everything_free(engine)


def test_half_a_letter_is_not_told(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply_builder, "SEQUENCE_PERIOD_S", 0.0)
    monkeypatch.setattr(reply_builder, "ANY_PERIOD_S", 0.0)
    words = "发票总额 🧾 龘 é — 12,50 €"
    script = house.prompts.tokenizer(words, add_special_tokens=False)["input_ids"]
    assert len(script) > len(words) / 2
    engine = house.engine()
    spoken, seen = iter(script), list[str]()
    monkeypatch.setattr(engine.runner, "answers", lambda rows: ([next(spoken)], [0.0], [0.0]))
    for given in engine.answer([watched(tiny.ask([], "Say it.", most=len(script)))]):
        assert words.startswith(given.text)
        seen.append(given.text)
    assert seen[-1] == words


def test_telling_is_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [watched(tiny.ask([house.pages[i % 8]], f"{i}?", most=30)) for i in range(30)]
    looks: list[float] = []
    clock = iter(range(1 << 20))
    engine = house.engine()
    monkeypatch.setattr(reply_builder, "SEQUENCE_PERIOD_S", 20.0)
    monkeypatch.setattr(reply_builder, "ANY_PERIOD_S", 5.0)
    monkeypatch.setattr(reply_builder.time, "perf_counter", lambda: float(next(clock)))
    text = house.prompts.text
    monkeypatch.setattr(house.prompts, "text", lambda tokens: looks.append(1.0) or text(tokens))
    partials, replies = told(engine, asked)
    monkeypatch.undo()
    assert len(replies) == 30
    count = sum(map(len, partials.values()))
    assert 0 < count <= next(clock) / 5
    assert len(looks) <= 30 + next(clock) / 5
