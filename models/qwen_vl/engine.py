"""The engine loop: continuous batching on one device.

One iteration: queue a step on the device, compute the grammar masks while it runs, queue the sampling and a slice of
the vision encoder, yield finished replies, pull new requests, and only then wait for the sampled tokens.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Sequence as SequenceOf
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.engine import Finish, PageSpec, Partial, Reply, Request

from .compute.kv_cache import KVCache
from .compute.language_model import Language
from .compute.model_runner import ModelRunner, Prepared
from .compute.vision_encoder import Vision
from .inputs.chat_template import Prompts
from .inputs.grammar import Grammar
from .scheduling.answer_lengths import AnswerLengths
from .scheduling.batch import Batch, pack
from .scheduling.reply_builder import ReplyBuilder, failure
from .scheduling.request_prep import RequestPreprocessor
from .scheduling.scheduler import StepScheduler
from .scheduling.sequences import Sequence
from .scheduling.step import Step
from .vision_runner import VisionRunner

PULLS = 2  # requests pulled in an iteration while the device works: each costs a few milliseconds
NOT_FINITE = "the model's output is not finite: the weights are damaged, or overflow the number format used on this GPU"


class PreparedStep(NamedTuple):
    """A step with its packed batch, ready to be queued."""

    step: Step
    batch: Batch
    prepared: Prepared


class ContinuousBatchEngine:
    """Answers requests with a loaded model. `lengths`: the measured lengths of answers; the engine adds to it."""

    def __init__(
        self,
        language: Language,
        vision: Vision,
        prompts: Prompts,
        page_spec: PageSpec,
        kv_cache: KVCache,
        images: Tensor,
        *,
        grammar: Grammar,
        step_tokens: int,
        vision_tokens: int,
        answers: int,
        ends: Iterable[int] | None = None,
        jump: bool = True,
        lengths: AnswerLengths | None = None,
    ) -> None:
        self.language, self.vision, self.prompts, self.page_spec = language, vision, prompts, page_spec
        self.kv_cache, self.grammar, self.images, self.jump = kv_cache, grammar, images, jump
        self.vision_tokens, self.most_answers = vision_tokens, answers
        self.ends = prompts.ends if ends is None else set(ends)
        self.lengths = AnswerLengths() if lengths is None else lengths
        self.runner = ModelRunner(language, kv_cache, images, step_tokens, answers)
        self.steps = self.step_sizes = 0
        self.pulse: Callable[[], None] = lambda: None  # called once an iteration
        self.reset()

    def reset(self) -> None:
        """Drop all requests in flight and all cached pages."""
        self.scheduler = StepScheduler(
            self.kv_cache.rows, len(self.images), step_sizes=self.runner.sizes, vision_tokens=self.vision_tokens,
            max_running=self.most_answers, lengths=self.lengths,
        )  # fmt: skip
        self.vision_runner = VisionRunner(self.vision, self.scheduler, self.images)
        context = int(self.language.config.max_position_embeddings)
        self.prep = RequestPreprocessor(self.prompts, self.grammar, self.page_spec, self.scheduler, context, self.jump)
        self.finished: list[Reply] = []
        self._ahead: PreparedStep | None = None
        self._guessed = False
        self.replies = ReplyBuilder(self.prompts)

    # ---- the loop
    def answer(self, requests: Iterable[Request | None]) -> Iterator[Reply | Partial]:
        source, more = iter(requests), True
        try:
            while True:
                self.pulse()
                sampled = self._launch()
                while self.finished:
                    yield self.finished.pop(0)
                if partial := self.replies.partial(self.scheduler.running):
                    yield partial
                idle = sampled is None
                more = more and self._pull(source, idle)
                if sampled:
                    self._look_ahead(sampled)
                    self._collect(sampled)
                elif idle and not more and self.scheduler.idle and not self.finished:
                    return
        finally:
            if not self.scheduler.idle or self.finished:  # the caller closed the stream: drop what is left
                self.reset()

    def _pull(self, source: Iterator[Request | None], idle: bool) -> bool:
        for _ in range(PULLS):
            if not self.scheduler.wants_more:
                return True
            try:
                request = next(source)
            except StopIteration:
                return False
            if request is None:
                if idle and not self.scheduler.waiting:
                    time.sleep(0.002)
                return True
            self._accept(request)
        return True

    def _accept(self, request: Request) -> None:
        began = time.perf_counter()
        try:
            self.scheduler.add(self.prep.sequence(request, False, began))
        except ValueError as error:
            self.finished.append(failure(request, str(error), began, False))

    def _take_refused(self) -> None:
        """Retry refused sequences once in low resolution; fail those that were in low resolution already."""
        while self.scheduler.refused:
            sequence, reason = self.scheduler.refused.pop()
            request, began, low = sequence.request, sequence.began, sequence.low_resolution
            if not low and request.pages:
                try:
                    self.scheduler.add(self.prep.sequence(request, True, began, sequence.serial))
                    continue
                except ValueError as error:
                    reason, low = str(error), True
            self.finished.append(failure(request, reason, began, low))

    # ---- one step
    def _launch(self) -> list[Sequence] | None:
        """Queue a step. -> the sequences whose next token it samples, or None if there was nothing to do."""
        work, self._ahead = self._ahead, None
        if work is None:
            step = self._schedule()
            while self.scheduler.starved and self.vision_runner.advance():
                step = self._schedule()
            if not step.parts:
                return None if self.scheduler.idle and not self.finished else []
            work = self._prepare(step)
        step = work.step
        try:
            sampled = self._forward(work)
        except torch.OutOfMemoryError:
            if self.images.is_cuda:
                torch.cuda.empty_cache()
            self.scheduler.step_out_of_memory(step)
            self._take_refused()
            return []
        self.vision_runner.advance()
        self._take_refused()
        return sampled

    def _schedule(self) -> Step:
        step = self.scheduler.schedule()
        for moves in step.moves:
            self.kv_cache.apply(moves)
        self._take_refused()
        return step

    def _prepare(self, step: Step) -> "PreparedStep":
        batch = pack(step.parts)
        return PreparedStep(step, batch, self.runner.prepare(batch.positions, batch.rows, batch.spans, batch.last))

    def _look_ahead(self, sampled: SequenceOf[Sequence]) -> None:
        """Prepare the next step while this one runs, assuming that no answer ends; only its tokens are missing.

        Free text only: after a token under a grammar, others may be forced.
        """
        self._guessed = len(sampled) > 1 and all(
            sequence.matcher is None and sequence.answered + 1 < sequence.max_new_tokens for sequence in sampled
        )
        if self._guessed:
            for sequence in sampled:
                sequence.tokens.append(0)  # placeholder of the token being sampled
            step = self._schedule()
            if step.parts and not self.scheduler.starved:
                self._ahead = self._prepare(step)

    def _forward(self, work: "PreparedStep") -> list[Sequence]:
        """Queue one step and its sampling. Changes nothing if the device runs out of memory."""
        step, batch, prepared = work
        for place, sequence in zip(batch.last, batch.sampled, strict=True):
            batch.source[place] = sequence.tokens[-1]
        self.runner.forward(prepared, batch.source)
        sampled = batch.sampled
        matchers = [sequence.matcher for sequence in sampled]
        constrained = any(matcher is not None for matcher in matchers)
        if constrained:
            self.grammar.fill(matchers, self.runner.allowed[: len(sampled)])
        if sampled:
            self.runner.sample(len(sampled), constrained)
        self.scheduler.executed(step)
        self.steps += 1
        self.step_sizes += len(batch.source)
        return sampled

    def _collect(self, sampled: SequenceOf[Sequence]) -> None:
        """Wait for the sampled tokens of the last step and append them to their sequences."""
        tokens, among, free = self.runner.answers(len(sampled))
        if self._guessed:
            for sequence in sampled:
                sequence.tokens.pop()
        self.grammar.consume([(s.matcher, t) for s, t in zip(sampled, tokens, strict=True) if s.matcher is not None])
        for sequence, token, logprob, free_logprob in zip(sampled, tokens, among, free, strict=True):
            if sequence.finished:
                continue  # refused while the next step was prepared
            if not math.isfinite(logprob) or not math.isfinite(free_logprob):
                self._fail(sequence, NOT_FINITE)
                continue
            sequence.add([token], True, logprob, free_logprob)
            if sequence.first_token_s == 0.0:
                sequence.first_token_s = time.perf_counter() - sequence.began
            finish = self._finish_of(sequence, token)
            if sequence.matcher is not None and sequence.matcher.is_error():
                self._fail(sequence, f"the answer cannot follow the schema: {sequence.matcher.get_error().strip()}")
            elif finish:
                self.lengths.add(sequence.kind, sequence.answered)
                self.finish(sequence, self.replies.reply(sequence, finish))

    def _fail(self, sequence: Sequence, reason: str) -> None:
        self.finish(sequence, failure(sequence.request, reason, sequence.began, sequence.low_resolution))

    def finish(self, sequence: Sequence, reply: Reply) -> None:
        """Free a sequence's memory and queue its reply."""
        self.scheduler.remove(sequence)
        self.finished.append(reply)
        self._ahead = None  # it includes this sequence

    def _finish_of(self, sequence: Sequence, token: int) -> Finish | None:
        if sequence.matcher is not None:
            forced = self.grammar.forced(sequence.matcher) if self.jump and not sequence.matcher.is_error() else []
            left = sequence.max_new_tokens - sequence.answered
            sequence.add(forced[:left], False, 0.0, float("nan"))
            if sequence.matcher.is_stopped() and len(forced) <= left:
                return "stop"
        elif token in self.ends:
            return "stop"
        return "length" if sequence.answered >= sequence.max_new_tokens or sequence.loops() else None
