"""The scheduler of the language model: admission, growth, preemption, and the content of each step. Needs no torch.

The engine's loop asks for a step (`schedule`), queues it on the device and reports it (`executed`).

- Sequences are admitted oldest first. At most PASSED_BOUND younger ones may pass one that lacks memory.
- A sequence gets memory as it grows. `MemoryForecast` limits admission to what all will need in the end.
- If memory runs out, the youngest sequence is preempted. It keeps its tokens, and its pages stay in the KV cache as
  long as anything else can be evicted or preempted.
- A step has one token of every decoding sequence, and prompt tokens: many if the backlog is long, few if the next
  decode steps can take them at no cost.
"""

from bisect import insort
from collections.abc import Sequence as SequenceOf

from models.qwen_vl.compute.range_allocator import KVMemory, RangeAllocator, aligned

from .answer_lengths import AnswerLengths
from .memory_forecast import MemoryForecast
from .prefix_cache import PREEMPTED, QUEUED, UNUSED, PrefixCache
from .sequences import PrefixEntry, Sequence
from .step import Part, Step
from .vision_scheduler import VisionScheduler

AHEAD = 32  # requests held that are not running
PASSED_BOUND = 32  # younger sequences that may be admitted before one that waits for memory
TRIED = 4  # sequences that fail to be admitted before admission stops for this step
GROWTH = 128  # tokens of an answer for which memory is allocated at a time
FILL = 0.97  # of the memory is planned: with the rest, sequences grow without a compaction each time
SPREAD = 8  # steps over which the prompts that are in memory are spread
BUSY = 32  # decoding sequences from which a step has half as many tokens: measured, see docs/performance.md
LEAST_PREFILL = 128  # prompt tokens of a step, if there are any: below about 200 tokens all steps cost the same


class StepScheduler:
    """`step_sizes`: token counts of a step, ascending; a step costs as much as the next larger size. `image_rows`: rows
    of the buffer of encoded images. `vision_tokens`: tokens of a pass of the vision encoder."""

    def __init__(
        self,
        kv_rows: int,
        image_rows: int,
        *,
        step_sizes: SequenceOf[int],
        vision_tokens: int,
        max_running: int,
        lengths: AnswerLengths | None = None,
    ) -> None:
        self.memory = KVMemory(kv_rows)
        self.cache = PrefixCache(self.memory, RangeAllocator(image_rows))
        self.vision = VisionScheduler(self.cache, vision_tokens)
        self.lengths = AnswerLengths() if lengths is None else lengths
        self.step_sizes, self.step_limit, self.max_running = list(step_sizes), step_sizes[-1], max_running
        self.waiting: list[Sequence] = []  # by age
        self.running: list[Sequence] = []  # by age
        self.refused: list[tuple[Sequence, str]] = []  # too large for the memory, with the reason
        self.preemptions = 0
        self._memory_bound = False  # all candidates wait for memory, until a running sequence ends
        self._tried = 0  # candidates at that time

    # ---- add and remove sequences
    @property
    def wants_more(self) -> bool:
        return len(self.waiting) < AHEAD

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.running and not self.refused

    def fits(self, prefix_length: int, tokens: int) -> bool:
        """Whether a prefix and `tokens` tokens of a sequence fit into an otherwise empty memory."""
        return aligned(prefix_length) + aligned(tokens + 1) <= self.memory.rows

    def add(self, sequence: Sequence) -> None:
        insort(self.waiting, sequence, key=_age)
        self.cache.wait(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Remove a sequence that has ended or is no longer needed, and free its memory."""
        if sequence.running:
            self._stop(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)
            self.cache.unwait(sequence)
        sequence.finished = True
        self.cache.release_unused(sequence.prefix)

    def _stop(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self.memory.release(sequence)
        sequence.running, sequence.decoding, sequence.stored = False, False, 0
        self._memory_bound = False
        self.cache.leave(sequence.prefix)

    def _preempt(self, sequence: Sequence) -> None:
        self._stop(sequence)
        sequence.preemptions += 1
        self.preemptions += 1
        self.add(sequence)

    def _refuse(self, sequence: Sequence, reason: str) -> None:
        self.remove(sequence)
        self.refused.append((sequence, reason))

    # ---- admission
    def _admit(self) -> None:
        """Admit waiting sequences, oldest first."""
        forecast: MemoryForecast | None = None
        blocked: list[Sequence] = []
        candidates = [each for each in self.waiting if each.prefix.available]
        if self._memory_bound and len(candidates) == self._tried:
            return  # no sequence has ended or arrived since
        self._memory_bound, self._tried = False, len(candidates)
        backlog = self._backlog() if candidates else 0
        for sequence in candidates:
            if len(self.running) >= self.max_running or backlog >= SPREAD * self.step_limit:
                return
            if forecast is None:
                forecast = self._forecast()
            alone = not self.running
            if (alone or forecast.admit(sequence)) and self._start(sequence, alone):
                backlog += sequence.to_prefill
                for older in blocked:
                    older.passed += 1
            elif not self.running:
                need = sequence.prefix.length + len(sequence.tokens) + 1
                reason = f"page and answer need {need:,} tokens; the KV cache holds {self.memory.rows:,}"
                self._refuse(sequence, reason)
            else:
                self._memory_bound = True
                blocked.append(sequence)
                if len(blocked) >= TRIED or sequence.passed >= PASSED_BOUND:
                    break
        self._tried = sum(each.prefix.available for each in self.waiting)

    def _forecast(self) -> MemoryForecast:
        preempted = [sequence for sequence in self.waiting if sequence.preemptions]
        rows, kept = int(self.memory.rows * FILL), self.cache.kept_rows()
        return MemoryForecast(self.lengths, self.running, preempted, rows=rows, kept=kept, slack=GROWTH // 2)

    def _start(self, sequence: Sequence, alone: bool) -> bool:
        """Allocate memory for a waiting sequence. False, with nothing changed, if there is none."""
        entry, priority = sequence.prefix, PREEMPTED if alone else UNUSED
        self.waiting.remove(sequence)
        self.cache.unwait(sequence)
        self.cache.use(entry)
        placed = entry.start is not None or not entry.length or self.cache.place(entry, priority)
        rows = min(len(sequence.tokens) + GROWTH, max(len(sequence.tokens), sequence.longest)) + 1
        if placed and (
            self.cache.place_sequence(sequence, rows, priority)
            or (alone and self.cache.place_sequence(sequence, len(sequence.tokens) + 1, priority))
        ):
            sequence.stored, sequence.prefill_to, sequence.running = 0, len(sequence.tokens), True
            sequence.decoding = False
            insort(self.running, sequence, key=_age)
            return True
        if not entry.computed and entry.users == 1:
            self.memory.release(entry)
        self.cache.leave(entry)
        self.add(sequence)
        return False

    @property
    def starved(self) -> bool:
        """The next step would not be full because pages are not encoded yet, though there is memory for more."""
        if self._memory_bound or len(self.running) >= self.max_running:
            return False
        first = next((each for each in self.waiting if not each.prefix.available), None)
        decoding = sum(each.decoding for each in self.running)
        if first is None or self._backlog() + decoding >= limit_of_step(self.step_limit, decoding):
            return False
        room = self.memory.free_rows + self.cache.evictable_rows()
        return not self.running or room >= first.prefix.length + len(first.tokens) + GROWTH

    # ---- one step
    def schedule(self) -> Step:
        """The next step; without parts if there is nothing to compute."""
        self._admit()
        parts: list[Part] = []
        chosen: set[int] = set()
        left = self.step_limit
        for sequence in [each for each in self.running if each.decoding]:
            left -= self._take(sequence, left, parts, chosen)
        if prefilling := [each for each in self.running if not each.decoding]:
            limit = limit_of_step(self.step_limit, len(parts))
            self._take_prompts(prefilling, self._prefill_tokens(self.step_limit - left, limit), parts, chosen)
        return Step(parts, self.memory.take_moves())

    def _prefill_tokens(self, decoding: int, limit: int) -> int:
        """The prompt tokens of a step with `decoding` decode tokens.

        All that fit; or, if memory limits the number of sequences, a share of the backlog that keeps steps even, since
        each step reads the weights once. In both cases up to a size that a step is padded to.
        """
        backlog = self._backlog()
        if not backlog or decoding >= limit:
            return 0
        share = -(-backlog // SPREAD) if self._memory_bound else backlog
        wanted = decoding + max(LEAST_PREFILL, share)
        most = min(limit, decoding + backlog)
        sizes = [size for size in self.step_sizes if size <= limit] or [limit]
        size = next((size for size in sizes if size >= wanted), limit)
        if size > most:
            size = max((each for each in sizes if decoding + LEAST_PREFILL <= each <= most), default=most)
        return size - decoding

    def _backlog(self) -> int:
        """Prompt tokens of running sequences that are not computed; those of a shared prefix count once."""
        prefilling = [each for each in self.running if not each.decoding]
        entries = {id(each.prefix): each.prefix for each in prefilling if not each.prefix.ready}
        own = sum(max(0, sequence.prefill_to - sequence.stored) for sequence in prefilling)
        return own + sum(entry.length - entry.computed for entry in entries.values())

    def _take_prompts(self, prefilling: list[Sequence], left: int, parts: list[Part], chosen: set[int]) -> None:
        """Prompts whose pages are computed, then pages by the age of the sequences that wait for them."""
        for sequence in [each for each in prefilling if each.prefix.ready]:
            left -= self._take(sequence, left, parts, chosen)
        for entry in {id(each.prefix): each.prefix for each in prefilling if not each.prefix.ready}.values():
            tokens = min(left, entry.length - entry.computed)
            if tokens <= 0:
                return
            parts.append(Part(entry, tokens))
            left -= tokens
            if entry.computed + tokens == entry.length:
                for sequence in [each for each in prefilling if each.prefix is entry and each.running]:
                    left -= self._take(sequence, left, parts, chosen)

    def _take(self, sequence: Sequence, left: int, parts: list[Part], chosen: set[int]) -> int:
        tokens = min(left, len(sequence.tokens) - sequence.stored)
        if tokens <= 0 or not sequence.running:
            return 0
        if sequence.stored + tokens > sequence.room and not self._grow(sequence, sequence.stored + tokens, chosen):
            return 0
        parts.append(Part(sequence, tokens))
        chosen.add(sequence.serial)
        return tokens

    def _grow(self, sequence: Sequence, rows: int, chosen: set[int]) -> bool:
        """Allocate more memory; preempt younger sequences if needed. False: the sequence is not part of this step."""
        more = max(GROWTH, sequence.stored // 4)
        wanted = min(max(rows, sequence.room + more), max(rows, sequence.longest + 1))
        while not self.cache.grow(sequence, wanted, QUEUED):
            others = [each for each in self.running if each is not sequence]
            younger = [each for each in others if each.serial > sequence.serial and each.serial not in chosen]
            if younger:
                self._preempt(younger[-1])
            elif others:
                return self.cache.grow(sequence, rows, QUEUED)
            elif wanted > rows:
                wanted = rows
            elif self.cache.grow(sequence, rows, PREEMPTED):
                return True
            else:
                self._refuse(sequence, f"the answer does not fit into the KV cache ({self.memory.rows:,} tokens)")
                return False
        return True

    def executed(self, step: Step) -> list[PrefixEntry]:
        """Record that the step is queued on the device. -> the prefixes that it completes."""
        whole: list[PrefixEntry] = []
        for owner, tokens in step.parts:
            if isinstance(owner, Sequence):
                owner.stored += tokens
                owner.decoding = owner.decoding or owner.stored >= owner.prefill_to
                continue
            owner.computed += tokens
            if owner.ready:
                whole.append(owner)
                self.cache.drop_images(owner)
        return whole

    def step_out_of_memory(self, step: Step) -> None:
        """Halve the next step after this one ran out of device memory."""
        if step.tokens > 1:
            self.step_limit = max(1, step.tokens // 2)
            return
        owner = step.parts[0].owner
        for sequence in [each for each in self.running if owner in (each, each.prefix)]:
            self._refuse(sequence, "a step of one token does not fit into the GPU's memory")

    # ---- the vision encoder
    def cannot_be_encoded(self, entry: PrefixEntry) -> None:
        """Refuse the sequences that wait for a page too large for the vision encoder."""
        for sequence in [each for each in self.waiting if each.prefix is entry]:
            self._refuse(sequence, "the page does not fit into the GPU's memory, not even in low resolution")


def limit_of_step(tokens: int, decoding: int) -> int:
    """The most tokens of a step with `decoding` decoding sequences, if `tokens` is the most of any step."""
    return tokens if decoding < BUSY else max(-(-tokens // 2), decoding)


def _age(sequence: Sequence) -> int:
    return sequence.serial
