"""What is said of an answer: how far it is while it grows, and the reply at its end."""

import time
from collections.abc import Sequence

from models.qwen_vl.inputs.chat_template import Prompts
from pipeline.fields import column, leaves
from pipeline.types import PARTIAL_LETTERS, Finish, Partial, Reply, Request

from .confidence import confidences
from .sequences import Answer

TELL_S, TURN_S = 0.3, 0.05  # between two looks at one answer that is watched, and at any: most decode 20 a second


class ReplyBuilder:
    """Changes nothing of an answer but `told_s`."""

    def __init__(self, prompts: Prompts) -> None:
        self.prompts = prompts
        self._next_look_s = 0.0

    def reply(self, answer: Answer, finish: Finish) -> Reply:
        tokens = answer.tokens[answer.asked :]
        if tokens and tokens[-1] in self.prompts.ends:
            tokens.pop()
        text = self.prompts.text(tokens)
        logprobs = answer.logprobs[: len(tokens)]
        sure = confidences(text, self.prompts.byte_ends(tokens), logprobs) if answer.request.schema is not None else {}
        # of a long text these very tokens are never probable, however right it is
        long = {path for path, leaf in leaves(answer.request.job.fields) if leaf.LONG}
        sure = {path: each for path, each in sure.items() if column(path) not in long}
        seconds = time.perf_counter() - answer.began
        prompt = len(answer.sight.source) + answer.asked
        return Reply(
            answer.request, text, finish, None, prompt, len(tokens), tuple(logprobs), confidence=sure, seconds=seconds,
            free_logprobs=tuple(answer.free_logprobs[: len(tokens)]), low_resolution=answer.small,
            first_token_s=answer.first_token_s)  # fmt: skip

    def partial(self, running: Sequence[Answer]) -> Partial | None:
        """How far one of the watched answers is, the one that was told of the longest ago. Costs the others nothing:
        its tokens are here already, and the device is at work on the step that was just queued."""
        now = time.perf_counter()
        if now < self._next_look_s:
            return None
        watched = [answer for answer in running if answer.request.watched and answer.told_s <= now - TELL_S]
        self._next_look_s = now + (TURN_S if watched else TELL_S)
        answer = min(watched, key=lambda answer: answer.told_s, default=None)
        if answer is None or not answer.answered:
            return None
        text = self.prompts.text(answer.tokens[answer.asked :]).rstrip("\ufffd")  # half a letter is not told
        answer.told_s = now if len(text) < PARTIAL_LETTERS else float("inf")
        return Partial(answer.request, text[:PARTIAL_LETTERS]) if text else None


def failure(request: Request, reason: str, began: float, small: bool) -> Reply:
    """`began`: by `time.perf_counter`; `small`: asked in low resolution."""
    return Reply(request, "", "error", reason, seconds=time.perf_counter() - began, low_resolution=small)
