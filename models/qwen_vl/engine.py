"""Continuous batching: pages are looked at as room appears, prompts fill up the steps of the answers under way.

One turn of the loop: queue a step on the device, make the masks while it runs, queue the choice of tokens and a slice of
the vision tower, give finished replies away, pull new requests, and only then wait for the tokens.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.types import Finish, Page, Reply, Request, Wants

from .confidence import confidences
from .grammar import Grammar, Unenforceable
from .language import Language
from .pictures import CELL, Unfit, prepare, tokens_of
from .pool import Pool, Room
from .prompts import Prompts, lay_out
from .state import Album, Answer, Sight, pixel_digest, sight_key
from .step import Span, Stepper
from .vision import Vision

AHEAD = 32  # requests held that are not yet being answered
PULLS = 2  # requests taken up a turn while the device works: each costs a few milliseconds
FIRST_ROOM = 224  # tokens of an answer that get room at once; longer answers are moved to a larger range
SLICES = 4  # into which a pass of the vision tower is cut
BUSY = (
    32  # with so many answers under way a step takes half as many tokens: they wait less, and it is still well filled
)
SMALL_SIDE_PX = 768  # longest side of a page in low resolution


class Part(NamedTuple):
    """Some tokens of an answer or a sight that go into the next step."""

    owner: Answer | Sight
    tokens: int


class Engine:
    """Answers requests with a loaded model. `step_tokens` and `vision_tokens` shrink when the card runs out of memory."""

    def __init__(self, language: Language, vision: Vision, prompts: Prompts, wants: Wants, pool: Pool, images: Tensor, *,
                 grammar: Grammar, step_tokens: int, vision_tokens: int, answers: int, ends: Iterable[int] | None = None,
                 jump: bool = True) -> None:  # fmt: skip
        self.language, self.vision, self.prompts, self.wants, self.pool = language, vision, prompts, wants, pool
        self.grammar, self.images = grammar, images
        self.step_tokens, self.vision_tokens, self.most_answers = step_tokens, vision_tokens, answers
        self.ends = prompts.ends if ends is None else set(ends)
        self.jump = jump
        self.context = int(language.config.max_position_embeddings)
        self.stepper = Stepper(language, pool, images, step_tokens, answers)
        self.slice_layers = max(1, -(-len(vision.layers) // SLICES))
        self.steps = self.step_sizes = self.preempted = 0
        self.reset()

    def reset(self) -> None:
        """Forgets everything under way, and every page that was kept."""
        self.pool.free = [(0, self.pool.rows)]
        self.album = Album(self.pool, Room(len(self.images)))
        self.waiting: deque[Answer] = deque()
        self.running: list[Answer] = []
        self.building: list[Sight] = []  # in the pool, not yet whole
        self.unseen: deque[tuple[Sight, int]] = deque()  # pictures that the vision tower has not looked at
        self.viewing: Iterator[None] | None = None
        self.in_view: list[tuple[Sight, int]] = []
        self.finished: list[Reply] = []
        self._serial = 0
        self._last: tuple[tuple[Page, ...], Wants, list[NDArray[np.uint8]], bytes] | None = None

    # ---- the loop
    def answer(self, requests: Iterable[Request | None]) -> Iterator[Reply]:
        source, more = iter(requests), True
        try:
            while True:
                sampled = self._launch()
                while self.finished:
                    yield self.finished.pop(0)
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
            self.waiting.append(self._answer_to(request, small, began))
        except (Unfit, Unenforceable, ValueError) as error:
            self._reply_error(request, str(error), began, small)

    def _answer_to(self, request: Request, small: bool, began: float) -> Answer:
        """Raises ValueError where the request cannot be served at all."""
        wants = self._wants(small)
        images, pixels = self._images_of(request.pages, wants)
        if sum(map(tokens_of, images)) > self.album.pictures.rows:
            if not small:
                return self._answer_to(request, True, began)
            raise ValueError("the pages have more pixels than the memory for pictures holds, even in low resolution")
        before, after = self.prompts.parts(request.system, len(images), request.question)
        matcher = None if request.schema is None else self.grammar.matcher(request.schema)
        cells = [(image.shape[0] // CELL, image.shape[1] // CELL) for image in images]
        source, positions, next_position = lay_out(before, self.prompts.picture, cells)
        total = len(source) + len(after) + request.max_new_tokens
        if request.max_new_tokens < 1:
            raise ValueError("max_new_tokens must be at least 1")
        if total > self.context:
            raise ValueError(f"pages, question and answer take {total:,} tokens; the model reads {self.context:,}")
        key = sight_key(before, pixels)
        sight = self.album.find(key)
        if sight is None:
            sight = Sight(key, images, source, positions, next_position, sum(high * wide for high, wide in cells))
            self._add_sight(sight)
        self._serial += 1
        answer = Answer(
            request, sight, list(after), len(after), request.max_new_tokens, matcher, small, began, self._serial
        )
        if matcher is not None and self.jump:
            answer.add(self.grammar.forced(matcher)[: answer.most], False, 0.0, float("nan"))
        return answer

    def _wants(self, small: bool) -> Wants:
        wants = self.wants
        return replace(wants, max_side_px=min(SMALL_SIDE_PX, wants.max_side_px)) if small else wants

    def _images_of(self, pages: tuple[Page, ...], wants: Wants) -> tuple[list[NDArray[np.uint8]], bytes]:
        """The prepared pictures and a digest of their pixels; kept for the next request, which is often about the same."""
        known = self._last
        if (
            known is None
            or known[1] != wants
            or len(known[0]) != len(pages)
            or any(a is not b for a, b in zip(known[0], pages, strict=True))
        ):
            pictures = [page.image for page in pages if page.image is not None]
            if pages and not pictures:
                raise ValueError("none of the pages has a picture")
            images = [prepare(picture, wants) for picture in pictures]
            known = self._last = (pages, wants, images, pixel_digest(images))
        return list(known[2]), known[3]

    def _add_sight(self, sight: Sight) -> None:
        self.album.add(sight)
        if sight.images:
            self.unseen.append((sight, 0))
        else:
            sight.seen = True

    def _reply(self, answer: Answer, finish: Finish) -> None:
        tokens = answer.tokens[answer.asked :]
        if tokens and tokens[-1] in self.prompts.ends:
            tokens.pop()
        text = self.prompts.text(tokens)
        logprobs = answer.logprobs[: len(tokens)]
        sure = confidences(text, self.prompts.byte_ends(tokens), logprobs) if answer.request.schema is not None else {}
        seconds = time.perf_counter() - answer.began
        prompt = len(answer.sight.source) + answer.asked
        self.finished.append(Reply(
            answer.request, text, finish, None, prompt, len(tokens), tuple(logprobs), confidence=sure, seconds=seconds,
            free_logprobs=tuple(answer.free_logprobs[: len(tokens)]), low_resolution=answer.small,
            first_token_s=answer.first_token_s))  # fmt: skip

    def _reply_error(self, request: Request, reason: str, began: float, small: bool) -> None:
        seconds = time.perf_counter() - began
        self.finished.append(Reply(request, "", "error", reason, seconds=seconds, low_resolution=small))

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
            self._reply_error(answer.request, reason, answer.began, answer.small)
            return
        self._accept(answer.request, small=True, began=answer.began)
        if self.waiting and self.waiting[-1].request is answer.request:
            self.waiting.rotate(1)

    # ---- vision
    def _look(self, slices: int) -> None:
        """Queues up to so many slices of the vision tower."""
        for _ in range(slices):
            if self.viewing is None and not self._start_viewing():
                return
            assert self.viewing is not None
            try:
                next(self.viewing)
            except StopIteration:
                self._viewed()
            except torch.OutOfMemoryError:
                self._halve_vision()

    def _start_viewing(self) -> bool:
        """The next pictures for which there is room, as many as one pass may hold."""
        tokens, starts = 0, []
        while self.unseen:
            sight, nth = self.unseen[0]
            if not sight.images:  # forgotten meanwhile, or seen already
                self.unseen.popleft()
                continue
            sizes = [tokens_of(image) for image in sight.images]
            if self.in_view and tokens + sizes[nth] > self.vision_tokens:
                break
            if sight.image_row is None:
                sight.image_row = self.album.pictures.take(sight.image_tokens)
                if sight.image_row is None:
                    break
            starts.append(sight.image_row + sum(sizes[:nth]))
            self.in_view.append((sight, nth))
            tokens += sizes[nth]
            self.unseen.popleft()
            if nth + 1 < len(sizes):
                self.unseen.appendleft((sight, nth + 1))
        if self.in_view:
            images = [sight.images[nth] for sight, nth in self.in_view]
            self.viewing = self.vision.encode(images, starts, self.images, self.slice_layers)
        return bool(self.in_view)

    def _viewed(self) -> None:
        for sight, nth in self.in_view:
            if nth + 1 == len(sight.images):
                sight.seen, sight.images = True, []
        self.in_view, self.viewing = [], None

    def _halve_vision(self) -> None:
        """A pass did not fit: its pictures go back, and the next pass holds half as much."""
        failed, self.in_view, self.viewing = self.in_view, [], None
        self._free_cache()
        if len(failed) > 1:
            self.vision_tokens = max(1, self.vision_tokens // 2)
            for entry in reversed(failed):
                if self.unseen and self.unseen[0] == (entry[0], entry[1] + 1):
                    self.unseen.popleft()
                self.unseen.appendleft(entry)
            return
        sight = failed[0][0]
        if self.unseen and self.unseen[0][0] is sight:
            self.unseen.popleft()
        sight.images = []
        self.album.drop_pictures(sight)
        self.album.sights.pop(sight.key, None)
        for answer in [answer for answer in self.waiting if answer.sight is sight]:
            self._too_large(answer, "the page does not fit into the card's memory, not even in low resolution")

    def _free_cache(self) -> None:
        if self.images.is_cuda:
            torch.cuda.empty_cache()

    # ---- admission
    def _admit(self) -> None:
        while self.waiting and len(self.running) < self.most_answers:
            answer = self.waiting[0]
            sight = self._sight_of(answer)
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

    def _sight_of(self, answer: Answer) -> Sight:
        """The sight that the answer needs, wherever it is now: it may have been pushed out while the answer waited."""
        known = self.album.sights.get(answer.sight.key)
        if known is None:
            known = answer.sight
            if not known.seen:
                known.images, _ = self._images_of(answer.request.pages, self._wants(answer.small))
            self._add_sight(known)
        answer.sight = known
        return known

    # ---- one step
    def _launch(self) -> list[Answer] | None:
        """Queues a step. -> the answers whose next token it chooses, or None when there was nothing to do."""
        self._admit()
        while self._starved() and (self.viewing is not None or self.unseen):
            before = (len(self.unseen), self.viewing, len(self.waiting))
            self._look(1)
            if self.viewing is None:
                self._admit()
                if before == (len(self.unseen), self.viewing, len(self.waiting)):
                    break  # no room for another picture now
        parts = self._choose()
        if not parts:
            return [] if self.waiting or self.finished else None
        try:
            sampled = self._forward(parts)
        except torch.OutOfMemoryError:
            self._halve_step(parts)
            return []
        self._look(1)
        return sampled

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
        ordered = sorted(parts, key=lambda part: _order(part.owner))
        source: list[int] = []
        positions: list[Any] = []
        rows: list[int] = []
        spans: list[Span] = []
        last: list[int] = []
        sampled: list[Answer] = []
        for owner, tokens in ordered:
            if isinstance(owner, Sight):
                assert owner.start is not None
                first, here = owner.done, slice(owner.done, owner.done + tokens)
                ids = owner.source[here]
                source += np.where(ids < 0, ids - (owner.image_row or 0), ids).tolist()
                positions.append(owner.positions[:, here])
                rows += range(owner.start + first, owner.start + first + tokens)
                spans.append(Span(tokens, owner.start, first))
                continue
            sight, first = owner.sight, owner.stored
            assert owner.start is not None
            source += owner.tokens[first : first + tokens]
            at = sight.next_position + first
            positions.append(np.broadcast_to(np.arange(at, at + tokens, dtype=np.int32), (3, tokens)))
            rows += range(owner.start + first, owner.start + first + tokens)
            spans.append(Span(tokens, owner.start, first, sight.start or 0, len(sight.source)))
            if first + tokens == len(owner.tokens):
                last.append(len(source) - 1)
                sampled.append(owner)
        self.stepper.forward(source, np.concatenate(positions, axis=1), rows, spans, last)
        matchers = [answer.matcher for answer in sampled]
        constrained = any(matcher is not None for matcher in matchers)
        if constrained:
            self.grammar.fill(matchers, self.stepper.allowed[: len(sampled)])
        if sampled:
            self.stepper.sample(len(sampled), constrained)
        for owner, tokens in ordered:
            if isinstance(owner, Answer):
                owner.stored += tokens
                continue
            owner.done += tokens
            if owner.ready:
                self.building.remove(owner)
                self.album.drop_pictures(owner)
        self.steps += 1
        self.step_sizes += len(source)
        return sampled

    def _halve_step(self, parts: Sequence[Part]) -> None:
        self._free_cache()
        used = sum(part.tokens for part in parts)
        if used > 1:
            self.step_tokens = max(1, used // 2)
            return
        for answer in [a for a in self.running if parts[0].owner in (a, a.sight)]:
            self._too_large(answer, "a step of one token does not fit into the card's memory")

    def _collect(self, sampled: Sequence[Answer]) -> None:
        """Waits for the tokens of the last step and hands them to their answers."""
        tokens, among, free = self.stepper.answers(len(sampled))
        self.grammar.consume([(a.matcher, t) for a, t in zip(sampled, tokens, strict=True) if a.matcher is not None])
        for answer, token, logprob, free_logprob in zip(sampled, tokens, among, free, strict=True):
            answer.add([token], True, logprob, free_logprob)
            if answer.first_token_s == 0.0:
                answer.first_token_s = time.perf_counter() - answer.began
            finish = self._finish_of(answer, token)
            if answer.matcher is not None and answer.matcher.is_error():
                self._leave(answer)
                reason = f"the schema could not be followed: {answer.matcher.get_error().strip()}"
                self._reply_error(answer.request, reason, answer.began, answer.small)
            elif finish:
                self._leave(answer)
                self._reply(answer, finish)

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


def _order(owner: Answer | Sight) -> tuple[int, int]:
    """Answers about one page stand side by side in a step; pages being read come first."""
    return (owner.sight.serial, owner.serial) if isinstance(owner, Answer) else (-1, owner.serial)
