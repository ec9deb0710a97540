"""Constrains answers to a JSON schema with llguidance: token masks and forced tokens."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The whitespace of json.dumps. With free whitespace hardly any token is forced, and forced tokens cost no step.
STYLE = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class Unenforceable(ValueError):
    """llguidance cannot enforce the schema; the text is its reason."""


class Grammar:
    """Compiles each schema once, and makes a matcher for each answer. `vocabulary`: the number of logits."""

    def __init__(self, tokenizer_json: str, vocabulary: int, end: int, threads: int | None = None) -> None:
        from llguidance import LLExecutor, LLTokenizer

        self.tokenizer = LLTokenizer(
            tokenizer_json, n_vocab=vocabulary, eos_token=end, slices=LLTokenizer.json_slices()
        )
        self.executor = LLExecutor(threads)
        self.words = -(-vocabulary // 32)
        self.jump = bool(self.tokenizer.is_canonical)  # only then forced tokens equal the model's own
        self._compiled: dict[str, Any] = {}

    def matcher(self, schema: Mapping[str, Any]) -> Any:
        """A fresh llguidance matcher. Raises Unenforceable."""
        from llguidance import LLMatcher

        key = json.dumps(schema)
        if key not in self._compiled:
            try:
                grammar = LLMatcher.grammar_from_json_schema(key, defaults=STYLE)
            except ValueError as error:
                raise Unenforceable(str(error)) from error
            if fault := LLMatcher.validate_grammar(grammar, self.tokenizer):
                raise Unenforceable(fault.strip())
            if len(self._compiled) >= 256:
                self._compiled.clear()
            self._compiled[key] = LLMatcher(self.tokenizer, grammar, log_level=0)
        return self._compiled[key].deep_copy()

    def fill(self, matchers: Sequence[Any | None], allowed: NDArray[np.int32]) -> None:
        """Write the mask of matcher i to row i of `allowed` [rows, words]; None allows every token."""
        live = [(matcher, i) for i, matcher in enumerate(matchers) if matcher is not None]
        if len(live) < len(matchers):
            allowed[[i for i, matcher in enumerate(matchers) if matcher is None]] = -1
        if live:
            self.executor.unsafe_compute_mask_ptr(live, allowed.ctypes.data, self.words * 4, len(allowed))

    def consume(self, pairs: Sequence[tuple[Any, int]]) -> None:
        """Advance all matchers by their sampled tokens, in parallel. A matcher that fails stays in its error state."""
        if pairs:
            self.executor.consume_token_par(list(pairs))

    def forced(self, matcher: Any) -> list[int]:
        """Consume and return the tokens that must come next."""
        if not self.jump or matcher.is_stopped():
            return []
        tokens: list[int] = matcher.compute_ff_tokens()
        if tokens:
            matcher.consume_tokens(tokens)
        return tokens
