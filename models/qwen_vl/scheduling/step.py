"""The work of one step of the language model, as the scheduler decides it. Needs no torch."""

from typing import NamedTuple

from models.qwen_vl.compute.range_allocator import Move

from .sequences import PrefixEntry, Sequence


class Part(NamedTuple):
    """Tokens of one sequence or prefix that are computed in the step."""

    owner: Sequence | PrefixEntry
    tokens: int


class Step(NamedTuple):
    """`moves` are copied in the KV cache before the `parts` are computed."""

    parts: list[Part]
    moves: list[list[Move]]

    @property
    def tokens(self) -> int:
        return sum(part.tokens for part in self.parts)
