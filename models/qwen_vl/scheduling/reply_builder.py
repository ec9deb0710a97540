"""Builds replies: the final one of each sequence, and partial ones of watched sequences."""

import time
from collections.abc import Sequence as SequenceOf

from models.qwen_vl.inputs.chat_template import Prompts
from pipeline.engine import PARTIAL_LETTERS, Finish, Partial, Reply, Request
from pipeline.schema.fields import column, leaves

from .confidence import confidences
from .sequences import Sequence

SEQUENCE_PERIOD_S, ANY_PERIOD_S = 0.3, 0.05  # least time between partial replies of one sequence, and of any


class ReplyBuilder:
    """Changes only `reported_s` of a sequence."""

    def __init__(self, prompts: Prompts) -> None:
        self.prompts = prompts
        self._next_partial_s = 0.0

    def reply(self, sequence: Sequence, finish: Finish) -> Reply:
        tokens = sequence.tokens[sequence.prompt_length :]
        if tokens and tokens[-1] in self.prompts.ends:
            tokens.pop()
        text = self.prompts.text(tokens)
        logprobs = sequence.logprobs[: len(tokens)]
        sure = (
            confidences(text, self.prompts.byte_ends(tokens), logprobs) if sequence.request.schema is not None else {}
        )
        # the exact tokens of a long text are never probable, even if it is right
        long = {path for path, leaf in leaves(sequence.request.job.fields) if leaf.long_text}
        sure = {path: each for path, each in sure.items() if column(path) not in long}
        prompt = sequence.prefix.length + sequence.prompt_length
        return Reply(
            sequence.request, text, finish, None, prompt, len(tokens), tuple(logprobs), confidence=sure,
            seconds=time.perf_counter() - sequence.began,
            free_logprobs=tuple(sequence.free_logprobs[: len(tokens)]), low_resolution=sequence.low_resolution,
            first_token_s=sequence.first_token_s)  # fmt: skip

    def partial(self, running: SequenceOf[Sequence]) -> Partial | None:
        """A partial reply of the watched sequence whose last one is the oldest, if one is due.

        The device runs the step that was just queued meanwhile.
        """
        now = time.perf_counter()
        if now < self._next_partial_s:
            return None
        watched = [
            sequence
            for sequence in running
            if sequence.request.watched and sequence.reported_s <= now - SEQUENCE_PERIOD_S
        ]
        self._next_partial_s = now + (ANY_PERIOD_S if watched else SEQUENCE_PERIOD_S)
        sequence = min(watched, key=lambda each: each.reported_s, default=None)
        if sequence is None or not sequence.answered:
            return None
        text = self.prompts.text(sequence.tokens[sequence.prompt_length :])
        text = text.rstrip("\ufffd")  # an incomplete character
        sequence.reported_s = now if len(text) < PARTIAL_LETTERS else float("inf")
        return Partial(sequence.request, text[:PARTIAL_LETTERS]) if text else None


def failure(request: Request, reason: str, began: float, low_resolution: bool) -> Reply:
    """An error reply. `began`: by `time.perf_counter`."""
    return Reply(request, "", "error", reason, seconds=time.perf_counter() - began, low_resolution=low_resolution)
