"""Replies: the final one of each sequence, and how far a watched one is while it grows."""

import time
from collections.abc import Sequence as SequenceOf

from models.qwen_vl.inputs.chat_template import Prompts
from pipeline.engine import PARTIAL_LETTERS, Finish, Partial, Reply, Request
from pipeline.schema.fields import column, leaves

from .confidence import confidences
from .sequences import Sequence

TELL_S, TURN_S = 0.3, 0.05  # between two looks at one answer that is watched, and at any: most decode 20 a second


class ReplyBuilder:
    """Changes nothing of a sequence but `told_s`."""

    def __init__(self, prompts: Prompts) -> None:
        self.prompts = prompts
        self._next_look_s = 0.0

    def reply(self, sequence: Sequence, finish: Finish) -> Reply:
        tokens = sequence.tokens[sequence.prompt_length :]
        if tokens and tokens[-1] in self.prompts.ends:
            tokens.pop()
        text = self.prompts.text(tokens)
        logprobs = sequence.logprobs[: len(tokens)]
        sure = (
            confidences(text, self.prompts.byte_ends(tokens), logprobs) if sequence.request.schema is not None else {}
        )
        # of a long text these very tokens are never probable, however right it is
        long = {path for path, leaf in leaves(sequence.request.job.fields) if leaf.long_text}
        sure = {path: each for path, each in sure.items() if column(path) not in long}
        prompt = sequence.prefix.length + sequence.prompt_length
        return Reply(
            sequence.request, text, finish, None, prompt, len(tokens), tuple(logprobs), confidence=sure,
            seconds=time.perf_counter() - sequence.began,
            free_logprobs=tuple(sequence.free_logprobs[: len(tokens)]), low_resolution=sequence.low_resolution,
            first_token_s=sequence.first_token_s)  # fmt: skip

    def partial(self, running: SequenceOf[Sequence]) -> Partial | None:
        """How far one of the watched answers is, the one that was told of the longest ago. Costs the others nothing:
        its tokens are here already, and the device is at work on the step that was just queued."""
        now = time.perf_counter()
        if now < self._next_look_s:
            return None
        watched = [sequence for sequence in running if sequence.request.watched and sequence.told_s <= now - TELL_S]
        self._next_look_s = now + (TURN_S if watched else TELL_S)
        sequence = min(watched, key=lambda each: each.told_s, default=None)
        if sequence is None or not sequence.answered:
            return None
        text = self.prompts.text(sequence.tokens[sequence.prompt_length :]).rstrip(
            "\ufffd"
        )  # half a letter is not told
        sequence.told_s = now if len(text) < PARTIAL_LETTERS else float("inf")
        return Partial(sequence.request, text[:PARTIAL_LETTERS]) if text else None


def failure(request: Request, reason: str, began: float, low_resolution: bool) -> Reply:
    """`began`: by `time.perf_counter`; `low_resolution`: asked in low resolution."""
    return Reply(request, "", "error", reason, seconds=time.perf_counter() - began, low_resolution=low_resolution)
