"""What runs when: admission, growth, preemption, and what goes into each step. Needs no torch and no device.

The engine's loop asks for a step (`schedule`), runs it and says so (`executed`); nothing here waits or computes.

- Sequences are admitted oldest first; one that cannot go now is passed by younger ones, at most PASSED_BOUND times.
- A sequence gets memory as it grows. `MemoryForecast` keeps admission below what all will need in the end.
- Where memory runs out all the same, the youngest sequence is preempted. It keeps its tokens, and its pages stay in the
  KV cache as long as anything else can be evicted or preempted.
- A step takes every sequence that decodes, and prompts beside them: many when there is much to prefill, few when the
  decode steps to come can take them along at no cost.
"""

from bisect import insort
from collections.abc import Sequence as SequenceOf
from typing import NamedTuple

from models.qwen_vl.compute.range_allocator import KVMemory, Move, RangeAllocator, aligned

from .answer_lengths import AnswerLengths
from .memory_forecast import MemoryForecast
from .prefix_cache import PREEMPTED, QUEUED, UNWANTED, PrefixCache
from .sequences import PrefixEntry, Sequence
from .vision_scheduler import VisionScheduler

AHEAD = 32  # requests held that are not running
PASSED_BOUND = 32  # younger sequences that may pass one that waits for memory
TRIED = 4  # sequences that are tried in vain at a step before admission stops
GROWTH = 128  # tokens of an answer that get memory at a time
FILL = 0.97  # of the memory that is planned for: the rest lets sequences grow without closing gaps each time
SPREAD = 8  # steps over which the prompts that are in memory are spread
BUSY = 32  # with so many sequences decoding a step takes half as many tokens: measured, see docs/performance.md
LEAST_PREFILL = 128  # prompt tokens of a step, where there are any: below about 200 tokens a step costs the same


class Part(NamedTuple):
    """Some tokens of a sequence or of a prefix that go into the next step."""

    owner: Sequence | PrefixEntry
    tokens: int


class Step(NamedTuple):
    """`moves` are to be copied in the KV cache before the `parts` run."""

    parts: list[Part]
    moves: list[list[Move]]

    @property
    def tokens(self) -> int:
        return sum(part.tokens for part in self.parts)


class StepScheduler:
    """`step_sizes`: tokens of a step, ascending; a step costs as much as the next larger size. `image_rows`: rows of
    the buffer of encoded images. `vision_tokens`: of a pass of the vision encoder."""

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
        self.refused: list[tuple[Sequence, str]] = []  # they fit in no memory; the engine tells why
        self.preemptions = 0
        self._memory_bound = False  # whoever could be admitted waits for memory, until somebody leaves
        self._tried = 0  # sequences that could be admitted when that was found

    # ---- sequences come and go
    @property
    def wants_more(self) -> bool:
        return len(self.waiting) < AHEAD

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.running and not self.refused

    def fits(self, prefix_length: int, tokens: int) -> bool:
        """Whether a prefix and so many tokens of a sequence could be in memory if they had it alone."""
        return aligned(prefix_length) + aligned(tokens + 1) <= self.memory.rows

    def add(self, sequence: Sequence) -> None:
        insort(self.waiting, sequence, key=_age)
        self.cache.wait(sequence)

    def remove(self, sequence: Sequence) -> None:
        """It has ended, or nobody waits for it any more; its memory is free again."""
        if sequence.running:
            self._stop(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)
            self.cache.unwait(sequence)
        sequence.finished = True
        self.cache.tidy(sequence.prefix)

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
        """Admit who can go, oldest first."""
        forecast: MemoryForecast | None = None
        blocked: list[Sequence] = []
        candidates = [each for each in self.waiting if each.prefix.available]
        if self._memory_bound and len(candidates) == self._tried:
            return  # nobody has left since, and nobody has come
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
                reason = f"page and answer take {need:,} tokens; the memory holds {self.memory.rows:,}"
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
        """Give a waiting sequence memory. False, and nothing has changed, where there is none."""
        entry, dearest = sequence.prefix, PREEMPTED if alone else UNWANTED
        self.waiting.remove(sequence)
        self.cache.unwait(sequence)
        self.cache.use(entry)
        placed = entry.start is not None or not entry.length or self.cache.place(entry, dearest)
        rows = min(len(sequence.tokens) + GROWTH, max(len(sequence.tokens), sequence.longest)) + 1
        if placed and (
            self.cache.place_sequence(sequence, rows, dearest)
            or (alone and self.cache.place_sequence(sequence, len(sequence.tokens) + 1, dearest))
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
        """The next step would not be full for want of encoded pages, though there is memory for more."""
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
        """The next step; without parts where there is nothing to compute."""
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
        """How many prompt tokens go beside `decoding` tokens: all that fit, or, where memory decides how many sequences
        decode, such a share of the backlog that steps stay even, since the weights are read once a step. In both cases
        up to a size that a step is padded to."""
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
        """Prompt tokens that are in memory and not computed; those of a shared prefix once."""
        prefilling = [each for each in self.running if not each.decoding]
        entries = {id(each.prefix): each.prefix for each in prefilling if not each.prefix.ready}
        own = sum(max(0, sequence.prefill_to - sequence.stored) for sequence in prefilling)
        return own + sum(entry.length - entry.computed for entry in entries.values())

    def _take_prompts(self, prefilling: list[Sequence], left: int, parts: list[Part], chosen: set[int]) -> None:
        """Prompts behind pages that are computed, then pages by the age of who waits for them."""
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
        """More memory for the sequence; the youngest others are preempted for it. False: it waits for this step."""
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
                self._refuse(sequence, f"the answer outgrew the memory ({self.memory.rows:,} tokens)")
                return False
        return True

    def executed(self, step: Step) -> list[PrefixEntry]:
        """The step is queued on the device. -> the prefixes that it completes."""
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

    def too_long_a_step(self, step: Step) -> None:
        """The step did not fit in the device's memory: the next one is half as long."""
        if step.tokens > 1:
            self.step_limit = max(1, step.tokens // 2)
            return
        owner = step.parts[0].owner
        for sequence in [each for each in self.running if owner in (each, each.prefix)]:
            self._refuse(sequence, "a step of one token does not fit into the card's memory")

    # ---- the vision encoder
    def cannot_be_encoded(self, entry: PrefixEntry) -> None:
        for sequence in [each for each in self.waiting if each.prefix is entry]:
            self._refuse(sequence, "the page does not fit into the card's memory, not even in low resolution")


def limit_of_step(tokens: int, decoding: int) -> int:
    """The most tokens of a step beside so many sequences that decode, where `tokens` are the most of any."""
    return tokens if decoding < BUSY else max(-(-tokens // 2), decoding)


def _age(sequence: Sequence) -> int:
    return sequence.serial
