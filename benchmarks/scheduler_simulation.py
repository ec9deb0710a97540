"""Simulate the GPU engine's scheduler with a virtual clock, and compare it with packers that know all answer lengths.

    python benchmarks/scheduler_simulation.py            # the table; --mix NAME for one, --seed N for other lengths

Needs no torch and no device: `StepScheduler` is the real one, only the model is simulated. The costs are those of
docs/performance.md (one H200 limited to 24 GiB). `perfect` is the least number of steps of several packers that know
every length in advance and have no gaps in memory. Their steps have the same maximum sizes.
"""

# ruff: noqa: E402  the project is put on the path first
import argparse
import heapq
import random
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[1])]
from models.qwen_vl.scheduling.answer_lengths import AnswerLengths
from models.qwen_vl.scheduling.scheduler import AHEAD, PASSED_BOUND, StepScheduler, limit_of_step
from models.qwen_vl.scheduling.sequences import PrefixEntry, Stage
from models.qwen_vl.scheduling.sequences import Sequence as Running
from models.qwen_vl.scheduling.step import Step
from pipeline.core.types import Document
from pipeline.engine import Request

__all__ = ["PASSED_BOUND", "AnswerLengths", "Work", "mixes", "perfect", "run", "simulate"]
KV_ROWS, IMAGE_ROWS, VISION_TOKENS, MAX_RUNNING = 117_102, 10_240, 2_560, 256
STEP_SIZES = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
PAGE, FRAME, QUESTION = 1280, 18, 166  # tokens: visual, the chat's frame, the question
# Milliseconds, from docs/performance.md: decoding 56 sequences 6.9; prefilling 1,490 tokens in two steps 32.6; a page
# in the vision encoder 16.4; attention of 56 sequences of 1,500 keys 0.054 a layer; weights of 15.2 GB at 4.1 TB/s.
STEP_MS, WEIGHTS_MS, TOKEN_MS, KEY_MS, VISION_MS, SLICES = 1.7, 3.7, 0.0184, 1.8e-5, 16.4 / 1280, 4
MOVE_MS = 4 * 57_344 / 4.1e9  # a row of the KV cache read and written twice


@dataclass(frozen=True)
class Work:
    """One request: `page` names its pages (shared by requests that name the same), `answer` is its true length."""

    page: int
    answer: int
    pages: int = 1
    question: int = QUESTION
    allowed: int = 2048
    job: str = "job"

    @property
    def prefix(self) -> int:
        return self.pages * PAGE + FRAME


@dataclass
class Outcome:
    """The cost of a schedule, and how full its steps were."""

    steps: int = 0
    ms: float = 0.0
    rows: list[int] = field(default_factory=list)  # sequences that got a token, each step
    starved: int = 0  # steps that were nearly empty while requests waited
    preemptions: int = 0
    encodings: int = 0  # images encoded, in pages
    compactions: int = 0
    moved_rows: int = 0
    longest_wait: int = 0  # most requests that overtook one
    order: list[int] = field(default_factory=list)


def _request(work: Work) -> Request:
    job: Any = SimpleNamespace(name=work.job, fields={}, questions=False)
    document = Document("d", "d", Path("d"), "box", datetime(2026, 11, 28, tzinfo=UTC), 1)
    return Request(document, job, (), "", "", None, work.allowed)


def simulate(
    mix: Sequence[Work],
    *,
    kv_rows: int = KV_ROWS,
    lengths: AnswerLengths | None = None,
    max_running: int = MAX_RUNNING,
    steps: int = 200_000,
) -> Outcome:
    """Run the scheduler over a mix until every request has its answer. Raises RuntimeError if it makes no progress."""
    lengths = AnswerLengths() if lengths is None else lengths
    scheduler = StepScheduler(kv_rows, IMAGE_ROWS, step_sizes=STEP_SIZES, vision_tokens=VISION_TOKENS,
                          max_running=max_running, lengths=lengths)  # fmt: skip
    outcome, left, answers = Outcome(), deque(enumerate(mix)), dict[int, int]()
    pages: dict[int, PrefixEntry] = {}
    vision = _Vision(scheduler, outcome)
    serial = 0
    while left or not scheduler.idle:
        while left and scheduler.wants_more:
            serial, work = left.popleft()
            key = str(work.page).encode()
            entry = scheduler.cache.find(key)
            if entry is None:
                entry = PrefixEntry(key, np.zeros(work.prefix, np.int32), np.zeros((3, 0), np.int32), work.prefix,
                                    (PAGE,) * work.pages, [])  # fmt: skip
            pages[work.page] = entry
            answers[serial] = work.answer
            scheduler.add(Running(_request(work), entry, [0] * work.question, work.question, work.allowed, None, False,
                                  0.0, kind=work.job, serial=serial))  # fmt: skip
        step = scheduler.schedule()
        while scheduler.starved and vision.go_on():
            step = scheduler.schedule()
        if scheduler.refused:
            raise RuntimeError(scheduler.refused[0][1])
        if not step.parts:
            raise RuntimeError(f"nothing to do with {len(scheduler.waiting)} waiting, {len(scheduler.running)} running")
        _count(outcome, scheduler, step)
        scheduler.executed(step)
        vision.go_on()
        _sample(outcome, scheduler, step, answers)
        if outcome.steps > steps:
            raise RuntimeError(f"more than {steps} steps")
    outcome.preemptions = scheduler.preemptions
    outcome.compactions, outcome.moved_rows = scheduler.memory.compactions, scheduler.memory.moved_rows
    outcome.ms += outcome.moved_rows * MOVE_MS
    return outcome


def _sample(outcome: Outcome, scheduler: StepScheduler, step: Step, answers: Mapping[int, int]) -> None:
    """Give each sequence that is computed its next token, and end those that have all of `answers[serial]`."""
    for owner, _ in step.parts:
        if isinstance(owner, Running) and owner.stored == len(owner.tokens):
            owner.add([1], True, 0.0, 0.0)
            if owner.answered == answers[owner.serial]:
                scheduler.lengths.add(owner.kind, owner.answered)
                outcome.longest_wait = max(outcome.longest_wait, owner.passed)
                outcome.order.append(owner.serial)
                scheduler.remove(owner)


def _count(outcome: Outcome, scheduler: StepScheduler, step: Step) -> None:
    outcome.steps += 1
    decoding = [part.owner for part in step.parts if isinstance(part.owner, Running)]
    size = next(size for size in STEP_SIZES if size >= step.tokens)
    keys = sum(owner.prefix.length + owner.stored for owner in decoding)
    outcome.ms += STEP_MS + max(WEIGHTS_MS, size * TOKEN_MS) + keys * KEY_MS
    outcome.rows.append(sum(owner.stage is Stage.READY for owner in decoding))
    free = scheduler.memory.free_rows + scheduler.cache.evictable_rows()
    empty = step.tokens < STEP_SIZES[-1] // 2 and free > scheduler.memory.rows // 4
    outcome.starved += bool(empty and scheduler.waiting and len(scheduler.running) < scheduler.max_running)


class _Vision:
    """The vision encoder: a pass in slices, as the engine runs it."""

    def __init__(self, scheduler: StepScheduler, outcome: Outcome) -> None:
        self.scheduler, self.outcome = scheduler, outcome
        self.tasks: list[Any] = []
        self.slices = 0

    def go_on(self) -> bool:
        if not self.tasks:
            self.tasks = self.scheduler.vision.next_pass(self.scheduler.waiting)
            self.slices = SLICES
        if not self.tasks:
            return False
        self.outcome.ms += len(self.tasks) * PAGE * VISION_MS / SLICES
        self.slices -= 1
        if not self.slices:
            self.outcome.encodings += len(self.tasks)
            self.scheduler.vision.encoded(self.tasks)
            self.tasks = []
        return True


# ---- packers that know every length
def least_steps(mix: Sequence[Work], kv_rows: int = KV_ROWS, max_running: int = MAX_RUNNING) -> int:
    """No schedule takes fewer steps: rows of memory × steps, tokens, and the longest answer each set a bound."""
    pages = {work.page: work for work in mix}
    area = sum(work.answer * (work.question + (work.answer + 1) / 2) for work in mix)
    for page, work in pages.items():
        together = [each.answer for each in mix if each.page == page]
        area += work.prefix * max(together)
    tokens = sum(work.prefix for work in pages.values()) + sum(work.question + work.answer - 1 for work in mix)
    rows = sum(work.answer for work in mix) / max_running
    longest = max(work.answer + (work.prefix + work.question) // STEP_SIZES[-1] for work in mix)
    return int(max(area / kv_rows, tokens / STEP_SIZES[-1], rows, longest))


def perfect(mix: Sequence[Work], kv_rows: int = KV_ROWS, max_running: int = MAX_RUNNING) -> int:
    """The fewest steps of several packers that know every length: in the order of the inbox, and the longest or the
    shortest first of the requests that an engine holds at a time."""
    return min(
        _pack(order, kv_rows, max_running)
        for order in (mix, _reordered(mix, lambda work: -work.answer), _reordered(mix, lambda work: work.answer))
    )


def _reordered(mix: Sequence[Work], key: Callable[[Work], int]) -> list[Work]:
    """The first by `key` of the AHEAD requests that are known at a time, one after the other."""
    left, order, known = deque(mix), list[Work](), list[Work]()
    while left or known:
        while left and len(known) < AHEAD:
            known.append(left.popleft())
        known.sort(key=key)
        order.append(known.pop(0))
    return order


def _pack(order: Sequence[Work], kv_rows: int, max_running: int) -> int:
    """Requests in this order, each as soon as all that run will fit to their ends; a step takes every sequence that
    decodes and fills up with prompts. A page stays in memory until its last request has ended."""
    users: dict[int, int] = {}
    for work in order:
        users[work.page] = users.get(work.page, 0) + 1
    left, now, computed = deque(order), 0, set[int]()
    ends: list[tuple[int, int, int, int]] = []  # (step of its end, tie, rows at the end, page)
    prompts: deque[list[Any]] = deque()
    held: dict[int, int] = {}
    while left or ends or prompts:
        while ends and ends[0][0] <= now:
            _, _, _, page = heapq.heappop(ends)
            users[page] -= 1
            if not users[page]:
                held.pop(page)
        budget = limit_of_step(STEP_SIZES[-1], len(ends)) - len(ends)
        while budget > 0:
            if not prompts:
                if not left or len(ends) >= max_running or not _fits(left[0], ends, held, now, kv_rows):
                    break
                work = left.popleft()
                held[work.page] = work.prefix
                prompts.append([work, work.question + (0 if work.page in computed else work.prefix)])
                computed.add(work.page)
            work, tokens = prompts[0]
            taken = min(budget, tokens)
            budget -= taken
            prompts[0][1] -= taken
            if not prompts[0][1]:
                prompts.popleft()
                heapq.heappush(ends, (now + work.answer, len(left), work.question + work.answer, work.page))
        now += 1
    return now


def _fits(work: Work, ends: list[Any], held: dict[int, int], now: int, rows: int) -> bool:
    """Whether `work`, begun now, and all that runs stay below `rows` until their ends."""
    until = np.array([each[0] - now for each in ends] + [work.answer])
    final = np.array([each[2] for each in ends] + [work.question + work.answer])
    # a page counts with the last of its requests that runs
    last: dict[int, int] = {work.page: len(ends)}
    for i, each in enumerate(ends):
        if each[3] not in last or until[i] > until[last[each[3]]]:
            last[each[3]] = i
    final_pages = np.zeros(len(until))
    for page, i in last.items():
        final_pages[i] += held.get(page, work.prefix if page == work.page else 0)
    waiting = sum(size for page, size in held.items() if page not in last)
    order = np.argsort(-until, kind="stable")
    alive_final, alive_pages = np.cumsum(final[order] - until[order]), np.cumsum(final_pages[order])
    count = np.arange(1, len(until) + 1)
    peak = alive_final + alive_pages + count * until[order]
    return bool(peak.max() + waiting <= rows) or not ends


# ---- the mixes
def mixes(scale: float = 1.0, seed: int = 0) -> dict[str, list[Work]]:
    """Mixes of answer lengths, by name."""
    dice = random.Random(seed)

    def of(count: int, length: Callable[[int], int], **more: Any) -> list[Work]:
        return [Work(i, max(1, length(i)), **more) for i in range(max(8, round(count * scale)))]

    many = max(8, round(240 * scale))
    invoice = lambda i: min(2048, round(214 * 2.0095 ** dice.gauss(0, 1)))  # noqa: E731 - median 214, p90 523
    return {
        "all 50": of(300, lambda i: 50),
        "all 200": of(240, lambda i: 200),
        "all 300": of(240, lambda i: 300),
        "all 400": of(200, lambda i: 400),
        "all 600": of(160, lambda i: 600),
        "all 2000": of(90, lambda i: 2000, allowed=4096),
        "uniform 50 to 2000": of(160, lambda i: dice.randint(50, 2000)),
        "one in ten 800, rest 200": of(240, lambda i: 800 if i % 10 == 9 else 200),
        "bimodal 60 or 900": of(200, lambda i: dice.choice((60, 900))),
        "invoices (median 214, p90 523)": of(240, invoice),
        "documents of 1 to 4 pages": [
            Work(i, dice.randint(100, 500), pages=dice.choice((1, 1, 1, 2, 4))) for i in range(many)
        ],
        "4 questions a page": [Work(i // 4, 50, question=42) for i in range(4 * (many // 2))],
        "questions that come back to kept pages": [
            Work(page, dice.randint(40, 120), question=60)
            for first in range(0, many // 2, 20) for _ in range(3) for page in range(first, min(first + 20, many // 2))
        ],
        "two jobs, 80 and 700": of(200, lambda i: 80 if i % 2 else 700),
        "answers cut at 300 of 300 allowed": of(240, lambda i: 300, allowed=300),
        "tight pool (9,000 rows), 100 to 600": of(40, lambda i: dice.randint(100, 600)),
    }  # fmt: skip


TIGHT = 9_000


def run(name: str, mix: Sequence[Work]) -> tuple[Outcome, int, int]:
    """The schedule of a mix, the steps of the perfect packer, and the bound below which no schedule can be."""
    rows = TIGHT if name.startswith("tight") else KV_ROWS
    mix = [Work(**{**w.__dict__, "job": f"{w.answer}"}) for w in mix] if name.startswith("two jobs") else mix
    return simulate(mix, kv_rows=rows), perfect(mix, rows), least_steps(mix, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mix", help="only the mixes whose name has this in it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="times the requests of each mix")
    given = parser.parse_args()
    print("| mix | requests | steps | perfect | ratio | bound | rows a step | starved | preempted | encoded | moved |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name, mix in mixes(given.scale, given.seed).items():
        if given.mix and given.mix not in name:
            continue
        outcome, best, bound = run(name, mix)
        images = sum({work.page: work.pages for work in mix}.values())
        print(
            f"| {name} | {len(mix)} | {outcome.steps} | {best} | {outcome.steps / best:.3f} | {bound} | "
            f"{np.mean(outcome.rows):.1f} | {outcome.starved} | {outcome.preemptions} | "
            f"{outcome.encodings}/{images} | {outcome.compactions}: {outcome.moved_rows} | {outcome.ms / 1000:.1f} s "
            f"= {images / outcome.ms * 1000:.2f} pages/s",
            flush=True,
        )


if __name__ == "__main__":
    main()
