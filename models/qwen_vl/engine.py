"""Continuous batching: pages are looked at as room appears, prompts fill up the steps of the answers under way.

One turn of the loop: queue a step on the device, make the masks while it runs, queue the choice of tokens and a slice
of the vision tower, give finished replies away, pull new requests, and only then wait for the tokens.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from pipeline.types import Finish, Partial, Reply, Request, Wants

from .compute.kv_cache import Pool, RangeAllocator
from .compute.language_model import Language
from .compute.model_runner import ModelRunner
from .compute.vision_encoder import Vision
from .inputs.chat_template import Prompts
from .inputs.grammar import Grammar
from .scheduling.batch import Part, pack
from .scheduling.reply_builder import ReplyBuilder, failure
from .scheduling.request_prep import RequestPreprocessor
from .scheduling.sequences import Album, Answer, Sight
from .scheduling.vision_scheduler import Looking

AHEAD = 32  # requests held that are not yet being answered
PULLS = 2  # requests taken up a turn while the device works: each costs a few milliseconds
FIRST_ROOM = 224  # tokens of an answer that get room at once; longer answers are moved to a larger range
BUSY = (
    32  # with so many answers under way a step takes half as many tokens: they wait less, and it is still well filled
)


class Engine:
    """Answers requests with a loaded model. `step_tokens` shrinks when the card runs out of memory."""

    def __init__(
        self,
        language: Language,
        vision: Vision,
        prompts: Prompts,
        wants: Wants,
        pool: Pool,
        images: Tensor,
        *,
        grammar: Grammar,
        step_tokens: int,
        vision_tokens: int,
        answers: int,
        ends: Iterable[int] | None = None,
        jump: bool = True,
    ) -> None:
        self.language, self.vision, self.prompts, self.wants, self.pool = language, vision, prompts, wants, pool
        self.grammar, self.images, self.jump = grammar, images, jump
        self.step_tokens, self.vision_tokens, self.most_answers = step_tokens, vision_tokens, answers
        self.ends = prompts.ends if ends is None else set(ends)
        self.runner = ModelRunner(language, pool, images, step_tokens, answers)
        self.steps = self.step_sizes = self.preempted = 0
        self.pulse: Callable[[], None] = lambda: None  # called once a turn
        self.reset()

    def reset(self) -> None:
        """Forgets everything under way, and every page that was kept."""
        self.pool.free = [(0, self.pool.rows)]
        self.album = Album(self.pool, RangeAllocator(len(self.images)))
        self.looking = Looking(self.vision, self.album, self.images, self.vision_tokens)
        context = int(self.language.config.max_position_embeddings)
        self.intake = RequestPreprocessor(
            self.prompts, self.grammar, self.wants, self.album, self.looking, context, self.jump
        )
        self.waiting: deque[Answer] = deque()
        self.running: list[Answer] = []
        self.building: list[Sight] = []  # in the pool, not yet whole
        self.finished: list[Reply] = []
        self.telling = ReplyBuilder(self.prompts)

    # ---- the loop
    def answer(self, requests: Iterable[Request | None]) -> Iterator[Reply | Partial]:
        source, more = iter(requests), True
        try:
            while True:
                self.pulse()
                sampled = self._launch()
                while self.finished:
                    yield self.finished.pop(0)
                if partial := self.telling.partial(self.running):
                    yield partial
                idle = sampled is None
                more = more and self._pull(source, idle)
                if sampled:
                    self._collect(sampled)
                elif idle and not more and not self.waiting and not self.running and not self.finished:
                    return
        finally:
            if self.waiting or self.running:  # the caller left: nobody waits for these answers
                self.reset()

    def _pull(self, source: Iterator[Request | None], idle: bool) -> bool:
        for _ in range(PULLS):
            if len(self.waiting) >= AHEAD:
                return True
            try:
                request = next(source)
            except StopIteration:
                return False
            if request is None:
                if idle and not self.waiting:
                    time.sleep(0.002)
                return True
            self._accept(request, small=False)
        return True

    # ---- requests
    def _accept(self, request: Request, small: bool, began: float | None = None) -> None:
        began = time.perf_counter() if began is None else began
        try:
            self.waiting.append(self.intake.answer_to(request, small, began))
        except ValueError as error:
            self.finished.append(failure(request, str(error), began, small))

    def _leave(self, answer: Answer) -> None:
        """Takes an answer out of the running ones; its room is free again."""
        if answer.start is not None:
            self.pool.give_back(answer.start, answer.room)
            answer.start = None
            self.running.remove(answer)
            self.album.leave(answer.sight)
            if answer.sight.start is None and answer.sight in self.building:
                self.building.remove(answer.sight)

    def _too_large(self, answer: Answer, reason: str) -> None:
        """Once more in low resolution; if it was that already, the request fails and the others go on."""
        self._leave(answer)
        if answer in self.waiting:
            self.waiting.remove(answer)
        sight = answer.sight
        if not sight.users and sight.start is None and all(other.sight is not sight for other in self.waiting):
            self.album.forget(sight)
        if answer.small or not answer.request.pages:
            self.finished.append(failure(answer.request, reason, answer.began, answer.small))
            return
        self._accept(answer.request, small=True, began=answer.began)
        if self.waiting and self.waiting[-1].request is answer.request:
            self.waiting.rotate(1)

    # ---- admission
    def _admit(self) -> None:
        while self.waiting and len(self.running) < self.most_answers:
            answer = self.waiting[0]
            sight = self.intake.sight_of(answer)
            if sight.start is None and not sight.seen:
                return
            self.album.use(sight)
            if sight.start is None and len(sight.source):
                sight.start = self.album.take(len(sight.source))
                if sight.start is not None:
                    self.building.append(sight)
            room = len(answer.tokens) + min(answer.most - answer.answered, FIRST_ROOM) + 1
            if sight.start is not None or not len(sight.source):
                answer.start = self.album.take(room)
            if answer.start is None:
                if sight.users == 1 and sight.start is not None and sight in self.building and not sight.done:
                    self.pool.give_back(sight.start, len(sight.source))  # its pictures stay encoded
                    self.building.remove(sight)
                    sight.start = None
                sight.users -= 1
                if not sight.users and sight.ready and sight.start is not None:
                    self.album.idle[sight.key] = sight
                if not self.running:
                    need = len(sight.source) + room
                    self._too_large(
                        answer, f"page and answer take {need:,} tokens; the memory holds {self.pool.rows:,}"
                    )
                    continue
                return
            answer.room, answer.stored = room, 0
            self.waiting.popleft()
            self.running.append(answer)

    # ---- one step
    def _launch(self) -> list[Answer] | None:
        """Queues a step. -> the answers whose next token it chooses, or None when there was nothing to do."""
        self._admit()
        while self._starved() and self._look():
            self._admit()
        parts = self._choose()
        if not parts:
            self._let_past()
            return [] if self.waiting or self.finished else None
        try:
            sampled = self._forward(parts)
        except torch.OutOfMemoryError:
            self._halve_step(parts)
            return []
        self._look()
        return sampled

    def _let_past(self) -> None:
        """With nothing under way, whoever waits for room for its pictures lets those past that hold such room."""
        if self.running:
            return
        for answer in self.waiting:
            if answer.sight.seen or answer.sight.start is not None:
                self.waiting.remove(answer)
                self.waiting.appendleft(answer)
                return

    def _look(self) -> bool:
        """Queues a slice of the vision tower. -> False when there was nothing to look at, or no room for it."""
        busy = self.looking.go_on()
        for sight in self.looking.lost:
            for answer in [answer for answer in self.waiting if answer.sight is sight]:
                self._too_large(answer, "the page does not fit into the card's memory, not even in low resolution")
        self.looking.lost.clear()
        return busy

    def _starved(self) -> bool:
        """Nothing new could go into the next step, though there would be room for the page that waits."""
        if not self.waiting or self.building or any(answer.stored < answer.asked for answer in self.running):
            return False
        sight = self.waiting[0].sight
        if sight.seen or sight.start is not None or len(self.running) >= self.most_answers:
            return False
        room = self.pool.free_rows + sum(len(s.source) for s in self.album.idle.values())
        return not self.running or room >= len(sight.source) + len(self.waiting[0].tokens) + FIRST_ROOM

    def _choose(self) -> list[Part]:
        """What goes into the next step: answers under way first, then questions, then pages in the order they came."""
        parts: list[Part] = []
        ready = [answer for answer in self.running if answer.sight.ready]
        left = (
            self.step_tokens if len(ready) < BUSY else max(-(-self.step_tokens // 2), min(len(ready), self.step_tokens))
        )
        ready.sort(key=lambda answer: (answer.stored < answer.asked, answer.serial))
        chosen: set[int] = set()
        for answer in ready:
            left -= self._add_answer(answer, left, parts, chosen)
        for sight in self.building:
            tokens = min(left, len(sight.source) - sight.done)
            if not tokens:
                break
            parts.append(Part(sight, tokens))
            left -= tokens
            if sight.done + tokens == len(sight.source) and left:
                for answer in [answer for answer in self.running if answer.sight is sight]:
                    left -= self._add_answer(answer, left, parts, chosen)
        return parts

    def _add_answer(self, answer: Answer, left: int, parts: list[Part], chosen: set[int]) -> int:
        tokens = min(left, len(answer.tokens) - answer.stored)
        if not tokens or answer.start is None:
            return 0
        if answer.stored + tokens > answer.room and not self._grow(answer, answer.stored + tokens, chosen):
            return 0
        parts.append(Part(answer, tokens))
        chosen.add(answer.serial)
        return tokens

    def _grow(self, answer: Answer, rows: int, chosen: set[int]) -> bool:
        """A larger range for the answer; the youngest others give way, to be gone on with later."""
        room = min(max(rows, answer.room + FIRST_ROOM), max(rows, answer.asked + answer.most + 1))
        while (start := self.album.take(room)) is None:
            others = [a for a in self.running if a is not answer and a.serial not in chosen]
            if not others:
                if len(self.running) == 1:
                    self._too_large(answer, f"the answer outgrew the memory ({self.pool.rows:,} tokens)")
                return False
            victim = max(others, key=lambda a: a.serial)
            if victim.serial < answer.serial and chosen:
                return False  # the older ones first; this one waits a step
            self._leave(victim)
            victim.stored = victim.room = 0
            self.waiting.appendleft(victim)
            self.preempted += 1
        assert answer.start is not None
        self.pool.move(answer.start, start, answer.stored)
        self.pool.give_back(answer.start, answer.room)
        answer.start, answer.room = start, room
        return True

    def _forward(self, parts: Sequence[Part]) -> list[Answer]:
        """Queues one step and the choice of tokens. Changes nothing when the card runs out of memory."""
        batch = pack(parts)
        self.runner.forward(batch.source, batch.positions, batch.rows, batch.spans, batch.last)
        sampled = batch.sampled
        matchers = [answer.matcher for answer in sampled]
        constrained = any(matcher is not None for matcher in matchers)
        if constrained:
            self.grammar.fill(matchers, self.runner.allowed[: len(sampled)])
        if sampled:
            self.runner.sample(len(sampled), constrained)
        for owner, tokens in batch.parts:
            if isinstance(owner, Answer):
                owner.stored += tokens
                continue
            owner.done += tokens
            if owner.ready:
                self.building.remove(owner)
                self.album.drop_pictures(owner)
        self.steps += 1
        self.step_sizes += len(batch.source)
        return sampled

    def _halve_step(self, parts: Sequence[Part]) -> None:
        if self.images.is_cuda:
            torch.cuda.empty_cache()
        used = sum(part.tokens for part in parts)
        if used > 1:
            self.step_tokens = max(1, used // 2)
            return
        for answer in [a for a in self.running if parts[0].owner in (a, a.sight)]:
            self._too_large(answer, "a step of one token does not fit into the card's memory")

    def _collect(self, sampled: Sequence[Answer]) -> None:
        """Waits for the tokens of the last step and hands them to their answers."""
        tokens, among, free = self.runner.answers(len(sampled))
        self.grammar.consume([(a.matcher, t) for a, t in zip(sampled, tokens, strict=True) if a.matcher is not None])
        for answer, token, logprob, free_logprob in zip(sampled, tokens, among, free, strict=True):
            answer.add([token], True, logprob, free_logprob)
            if answer.first_token_s == 0.0:
                answer.first_token_s = time.perf_counter() - answer.began
            finish = self._finish_of(answer, token)
            if answer.matcher is not None and answer.matcher.is_error():
                self._leave(answer)
                reason = f"the schema could not be followed: {answer.matcher.get_error().strip()}"
                self.finished.append(failure(answer.request, reason, answer.began, answer.small))
            elif finish:
                self._leave(answer)
                self.finished.append(self.telling.reply(answer, finish))

    def _finish_of(self, answer: Answer, token: int) -> Finish | None:
        if answer.matcher is not None:
            forced = self.grammar.forced(answer.matcher) if self.jump and not answer.matcher.is_error() else []
            left = answer.most - answer.answered
            answer.add(forced[:left], False, 0.0, float("nan"))
            if answer.matcher.is_stopped() and len(forced) <= left:
                return "stop"
        elif token in self.ends:
            return "stop"
        return "length" if answer.answered >= answer.most or answer.loops() else None
