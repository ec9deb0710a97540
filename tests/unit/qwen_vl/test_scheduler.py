"""The GPU engine's scheduler as a policy: who is admitted, who grows, who gives way. No torch, no model."""

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from models.qwen_vl.answer_length_store import NAME, AnswerLengthStore
from models.qwen_vl.compute.range_allocator import KVMemory, Move
from models.qwen_vl.scheduling.answer_lengths import AnswerLengths, kind_of
from models.qwen_vl.scheduling.scheduler import PASSED_BOUND, StepScheduler
from models.qwen_vl.scheduling.sequences import PrefixEntry, Sequence, Stage
from models.qwen_vl.scheduling.step import Step
from pipeline.core.types import Document
from pipeline.engine import Reply, Request

PROJECT = Path(__file__).parents[3]
SIZES = (8, 16, 32, 64, 128)


def scheduler(
    rows: int = 2000, images: int = 400, running: int = 32, lengths: AnswerLengths | None = None
) -> StepScheduler:
    return StepScheduler(rows, images, step_sizes=SIZES, vision_tokens=100, max_running=running, lengths=lengths)


def surprised(rows: int) -> StepScheduler:
    """It expects short answers, and admits too many of the long ones that come."""
    return scheduler(rows, lengths=AnswerLengths({"job": [5] * 200}))


def request(job: str = "job", most: int = 40) -> Request:
    about: Any = SimpleNamespace(name=job, fields={}, questions=False)
    document = Document("d", "d", Path("d"), "box", datetime(2026, 11, 28, tzinfo=UTC), 1)
    return Request(document, about, (), "", "", None, most)


def page(name: str, length: int = 100, images: int = 1) -> PrefixEntry:
    source = np.zeros(length, np.int32)
    return PrefixEntry(name.encode(), source, np.zeros((3, length), np.int32), length, (length // images,) * images, [])


def sequence(serial: int, entry: PrefixEntry, most: int = 40, prompt: int = 10) -> Sequence:
    return Sequence(request(most=most), entry, [1] * prompt, prompt, most, None, False, 0.0, kind="job", serial=serial)


def encode(chosen: StepScheduler) -> int:
    """Whole passes of the vision encoder until nothing can be encoded. -> images."""
    count = 0
    while tasks := chosen.vision.next_pass(chosen.waiting):
        chosen.vision.encoded(tasks)
        count += len(tasks)
    return count


def run(chosen: StepScheduler, ends: Callable[[Sequence], bool], steps: int = 4000) -> list[int]:
    """Steps until nothing is left; `ends` says whose answer is whole. -> the order in which they ended."""
    order: list[int] = []
    for _ in range(steps):
        encode(chosen)
        step = chosen.schedule()
        assert_sound(chosen, step)
        if not step.parts:
            break
        chosen.executed(step)
        for owner, _ in step.parts:
            if isinstance(owner, Sequence) and owner.stored == len(owner.tokens):
                owner.add([7], True, 0.0, 0.0)
                if ends(owner):
                    order.append(owner.serial)
                    chosen.remove(owner)
    return order


def assert_sound(chosen: StepScheduler, step: Step) -> None:
    """No row is held twice, nobody writes beyond its rows, and no part's owner was preempted within the step."""
    entries = [entry for entry in chosen.cache.entries.values() if entry.start is not None]
    spans = sorted((held.start or 0, -(-held.room // 16) * 16) for held in [*chosen.running, *entries])
    for (start, rows), (after, _) in pairwise(spans):
        assert start + rows <= after
    assert sum(rows for _, rows in spans) + chosen.memory.free_rows == chosen.memory.rows
    for owner, tokens in step.parts:
        assert owner.start is not None
        assert owner.filled + tokens <= owner.room


def test_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import models.qwen_vl.scheduling.scheduler, models.qwen_vl.answer_length_store\n"
        "assert not any(name.split('.')[0] in ('triton', 'transformers') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=True, timeout=60)


def test_stages_of_a_sequence() -> None:
    chosen = scheduler()
    one = sequence(1, page("a"))
    chosen.add(one)
    seen = [one.stage]
    encode(chosen)
    seen.append(one.stage)
    chosen.executed(chosen.schedule())
    seen.append(one.stage)
    while one.stage is Stage.PREFILLING:
        chosen.executed(chosen.schedule())
    seen.append(one.stage)
    chosen.remove(one)
    seen.append(one.stage)
    assert seen[:2] == [Stage.QUEUED, Stage.ENCODED]
    assert seen[2] in (Stage.PREFILLING, Stage.READY)
    assert seen[3:] == [Stage.READY, Stage.FINISHED]


def test_preempted_sequence_keeps_its_tokens_and_its_page() -> None:
    """Memory for two pages, but not for two whole answers: the younger gives way and comes back without encoding."""
    chosen = surprised(2 * 112 + 2 * 144)
    both = [sequence(i, page(f"{i}"), most=150) for i in range(2)]
    for each in both:
        chosen.add(each)
    order = run(chosen, lambda each: each.answered == 150)
    assert order == [0, 1]
    assert chosen.preemptions > 0
    assert both[1].preemptions > 0
    assert [each.prefix.encodings for each in both] == [1, 1]
    assert chosen.cache.evicted_wanted == 0


def test_idle_page_leaves_before_one_that_is_needed() -> None:
    chosen = surprised(3 * 112 + 2 * 144)
    chosen.add(sequence(0, page("old")))
    run(chosen, lambda each: each.answered == 3)
    both = [sequence(i, page(f"{i}"), most=150) for i in (1, 2)]
    for each in both:
        chosen.add(each)
    run(chosen, lambda each: each.answered == 150)
    assert chosen.cache.find(b"old") is None
    assert [each.prefix.encodings for each in both] == [1, 1]


def test_page_of_a_preempted_sequence_leaves_only_when_nothing_else_can() -> None:
    """The oldest answer needs nearly all memory: the younger one's page must go, and is encoded again."""
    chosen = surprised(112 + 112 + 144 + 32)
    both = [sequence(0, page("a"), most=180), sequence(1, page("b"), most=20)]
    for each in both:
        chosen.add(each)
    assert run(chosen, lambda each: each.answered == each.max_new_tokens)[-1] == 1 or both[1].prefix.encodings == 1
    assert both[0].prefix.encodings == 1


def test_small_one_passes_a_large_one_but_not_for_ever() -> None:
    lengths = AnswerLengths({"job": [20] * 50})
    chosen = scheduler(rows=1200, images=2000, running=64, lengths=lengths)
    for i in range(8):
        chosen.add(sequence(i, page(f"{i}")))
    large = sequence(8, page("large", length=900), most=40)
    chosen.add(large)
    serial, passed, waits = 9, 0, 0
    for i in range(6):
        chosen.add(sequence(serial + i, page(f"{serial + i}")))
    serial += 6
    while not large.running and waits < 5000:
        encode(chosen)
        step = chosen.schedule()
        chosen.executed(step)
        for owner, _ in step.parts:
            if isinstance(owner, Sequence) and owner.stored == len(owner.tokens):
                owner.add([7], True, 0.0, 0.0)
                if owner.answered == 20 - owner.serial % 7:
                    passed += owner.serial > 8
                    chosen.remove(owner)
                    chosen.add(sequence(serial, page(f"{serial}")))  # ever more small ones
                    serial += 1
        waits += 1
    assert passed > 0, "the small ones went on meanwhile"
    assert large.running
    assert large.passed <= PASSED_BOUND + 1


def test_page_that_can_never_fit_is_refused_by_name() -> None:
    chosen = scheduler(rows=96, images=400)
    assert not chosen.fits(100, 10)
    chosen.add(sequence(0, page("a")))
    encode(chosen)
    assert not chosen.schedule().parts
    ((refused, reason),) = chosen.refused
    assert refused.serial == 0
    assert "the KV cache holds 96" in reason


def test_lone_answer_that_outgrows_the_memory_is_refused() -> None:
    chosen = scheduler(rows=192)
    chosen.add(sequence(0, page("a"), most=500))
    run(chosen, lambda each: False)
    assert "does not fit into the KV cache (192 tokens)" in chosen.refused[0][1]


def test_vision_takes_the_oldest_first_and_halves_after_running_out_of_memory() -> None:
    chosen = scheduler(images=400)
    for i in (3, 1, 2):
        chosen.add(sequence(i, page(f"{i}", length=48)))
    tasks = chosen.vision.next_pass(chosen.waiting)
    assert [task.entry.key for task in tasks] == [b"1", b"2"]
    assert chosen.vision.out_of_memory(tasks) is None
    assert chosen.vision.tokens == 50
    tasks = chosen.vision.next_pass(chosen.waiting)
    assert [task.entry.key for task in tasks] == [b"1"]
    assert chosen.vision.out_of_memory(tasks) is tasks[0].entry
    chosen.cannot_be_encoded(tasks[0].entry)
    assert chosen.refused[0][0].serial == 1
    for i in range(10, 40):
        chosen.add(sequence(i, page(f"{i}", length=48)))
        run(chosen, lambda each: True)
    assert chosen.vision.tokens == 100, "after a while without trouble passes are as large as before"


def test_several_pages_are_encoded_in_several_passes() -> None:
    chosen = scheduler(images=400)
    one = sequence(0, page("long", length=240, images=4))
    chosen.add(one)
    assert len(chosen.vision.next_pass(chosen.waiting)) == 1  # 60 of 100 tokens
    assert chosen.vision.next_pass(chosen.waiting) == [], "not twice at a time"


def test_steps_are_filled_to_a_size_that_is_not_padded() -> None:
    chosen = scheduler(rows=20_000, images=2000)
    for i in range(12):
        chosen.add(sequence(i, page(f"{i}")))
    encode(chosen)
    assert chosen.schedule().tokens == SIZES[-1]


@settings(deadline=None, max_examples=60)
@given(
    some.lists(some.tuples(some.integers(0, 5), some.integers(1, 60)), min_size=1, max_size=25),
    some.sampled_from([352, 600, 1500]),
    some.integers(1, 12),
)
def test_every_sequence_ends_whatever_the_memory(works: list[tuple[int, int]], rows: int, running: int) -> None:
    chosen = scheduler(rows=rows, images=208, running=running)
    pages = {name: page(f"{name}", length=16 + 30 * name) for name in range(6)}
    left = list(enumerate(works))
    ends = {i: length for i, (_, length) in left}
    order: list[int] = []
    while left:
        while left and chosen.wants_more:
            i, (name, _) = left.pop(0)
            entry = chosen.cache.find(pages[name].key) or page(f"{name}", length=16 + 30 * name)
            chosen.add(sequence(i, entry, most=60))
        order += run(chosen, lambda each: each.answered == ends[each.serial])
    assert sorted(order) == sorted(ends)
    assert chosen.idle
    for entry in list(chosen.cache.idle.values()):
        chosen.cache.evict(entry)
    assert chosen.memory.free_rows == chosen.memory.rows
    assert chosen.cache.images.free_rows == chosen.cache.images.rows


# ---- memory
@settings(deadline=None)
@given(some.lists(some.tuples(some.integers(0, 3), some.integers(1, 60)), max_size=60))
def test_moves_keep_what_was_stored(actions: list[tuple[int, int]]) -> None:
    """Played on an array: after all moves each holder finds what it had written."""
    memory, rows = KVMemory(640), np.zeros(640, np.int64)
    held: list[tuple[Any, int]] = []

    def play(batches: list[list[Move]]) -> None:
        for batch in batches:
            before = rows.copy()
            for move in batch:
                rows[move.target : move.target + move.rows] = before[move.source : move.source + move.rows]

    for mark, (action, size) in enumerate(actions, 1):
        if action == 0 and held:
            memory.release(held.pop(size % len(held))[0])
        elif action == 1 and held:
            holder, _ = held[size % len(held)]
            wanted = holder.room + size
            if not memory.grow(holder, wanted) and memory.can_compact(wanted, holder):
                memory.compact(holder, wanted)
            play(memory.take_moves())
        else:
            holder = SimpleNamespace(start=None, room=0, filled=size)
            if not memory.place(holder, size, high=bool(action % 2)):
                if not memory.can_compact(size):
                    continue
                memory.compact()
                play(memory.take_moves())
                assert memory.place(holder, size, high=bool(action % 2))
            rows[holder.start : holder.start + size] = mark
            held.append((holder, mark))
        for holder, mark_ in held:
            assert (rows[holder.start : holder.start + holder.filled] == mark_).all()


# ---- lengths
def test_lengths_of_a_job_are_measured_and_carried() -> None:
    lengths = AnswerLengths()
    assert lengths.as_dict() == {}
    for tokens in range(1, 101):
        lengths.add("job", tokens)
    again = AnswerLengths(lengths.as_dict())
    assert again.as_dict() == {"job": list(range(1, 101))}
    for _ in range(300):
        again.add("job", 500)
    assert set(again.as_dict()["job"]) == {500}, "the latest count"
    assert kind_of(request("a")) == "a"


def test_short_answers_that_end_first_do_not_pass_for_all() -> None:
    lengths = AnswerLengths({"job": [60] * 30})
    alone = lengths.curve("job", [], 2000).alive(np.array([0]), np.array([2000]), np.array([100]))[0, 0]
    attachment = lengths.curve("job", [300] * 30, 2000).alive(np.array([0]), np.array([2000]), np.array([100]))[0, 0]
    assert alone < 0.2
    assert 0.4 < attachment < 0.7


def test_admission_leaves_room_for_what_is_known_to_come() -> None:
    """Jobs that answer shortly share the memory among many; those with long answers among few."""
    running = {}
    for length in (20, 400):
        chosen = scheduler(rows=3000, images=8000, lengths=AnswerLengths({"job": [length] * 100}))
        for i in range(30):
            chosen.add(sequence(i, page(f"{i}"), most=1000))
        for _ in range(60):
            encode(chosen)
            chosen.executed(chosen.schedule())
        running[length] = len(chosen.running)
    assert running[20] > 1.5 * running[400]
    assert running[400] >= 3000 // (100 + 10 + 400 + 32) - 1


def test_loop_is_long_before_it_counts_as_one() -> None:
    table = sequence(0, page("a"), most=4000)
    table.add([11] * 300, True, 0.0, 0.0)  # a row of empty cells
    assert not table.loops()
    table.add([12, 13, 14] * 400, True, 0.0, 0.0)
    assert table.loops()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}', '{"a": ["x"]}', '{"a": [-3]}', '{"a": [true]}'])
def test_damaged_file_of_lengths_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text, "utf-8")
    assert AnswerLengthStore(tmp_path).lengths.as_dict() == {}


def test_lengths_are_kept_in_the_root(tmp_path: Path) -> None:
    store = AnswerLengthStore(tmp_path)
    for tokens in (30, 40):
        store.heard(Reply(request(), "x", "stop", new_tokens=tokens))
    store.heard(Reply(request(), "", "error", "it failed", new_tokens=3))
    assert not (tmp_path / NAME).exists(), "not at every reply"
    store.heard(None)
    assert AnswerLengthStore(tmp_path).lengths.as_dict() == {"job": [30, 40]}
    gone = AnswerLengthStore(tmp_path / "gone")
    gone.heard(Reply(request(), "x", "stop", new_tokens=5))
    gone.heard(None)
    assert not (tmp_path / "gone").exists(), "a root is never made"
