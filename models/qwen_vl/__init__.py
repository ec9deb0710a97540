"""Qwen2.5-VL on one GPU (or, slowly, on a CPU) behind the same protocol as every engine: `QwenVL`.

Nothing heavy is imported until an engine is made.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import ModelError
from pipeline.engine import PageSpec, Partial, Reply, Request

if TYPE_CHECKING:
    from pipeline.schema.job import Job

    from .scheduling.answer_lengths import AnswerLengths

PAGE_TOKENS = 1280  # visual tokens of a page: about 1 megapixel
CLOSER = 2.0  # times the tokens of a page at a second look: what two pages take, so the memory plan holds for it
CELL_PX = 28
_log = logging.getLogger("scanmill")  # what was chosen and planned at the start, where people see it


class QwenVL:
    """Loads the weights folder and answers from it. Raises ModelError where it cannot run here.

    `pulse` is called between steps: who watches knows then that none hangs. `lengths`: what is known of how long the
    answers of each job are; the engine adds what it measures.
    """

    name = "qwen_vl"

    def __init__(self, weights: Path, *, vram_gib: float | None = None, low_resolution: bool = False,
                 device: str | None = None, lengths: "AnswerLengths | None" = None,
                 pulse: Callable[[], None] = lambda: None) -> None:  # fmt: skip
        self.page_spec = page_spec(low_resolution)
        try:
            import torch

            from . import build
        except ImportError as error:
            raise ModelError(
                f"The GPU engine needs packages that are not installed here ({error}). Install them with\n"
                "  pip install -c constraints.txt -c constraints-gpu.txt -e '.[gpu]'"
            ) from error
        place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.engine, self._provenance = build.start(weights, self.page_spec, place, vram_gib, _log.info, lengths)
        self.engine.pulse = pulse

    def unsupported_reason(self, job: "Job") -> str | None:
        """A schema that decoding cannot guarantee is refused here, before any document is touched."""
        from pipeline.schema.fields import object_schema

        from .inputs.grammar import Unenforceable

        try:
            self.engine.grammar.matcher(object_schema(job.fields))
        except Unenforceable as error:
            return f"the answer's form cannot be enforced while the model writes: {error}"
        return None

    def answer(self, requests: Iterable[Request | None]) -> Iterator[Reply | Partial]:
        return self.engine.answer(requests)

    def provenance(self) -> Mapping[str, str]:
        return self._provenance

    def close(self) -> None:
        self.engine.reset()


def page_spec(low_resolution: bool = False) -> PageSpec:
    """Pages of about 1,280 visual tokens; in low resolution the longest side is at most 768 px. Twice that at a second
    look."""
    side = 756 if low_resolution else 4096 // CELL_PX * CELL_PX
    return PageSpec(
        side, PAGE_TOKENS * CELL_PX**2, 4 * CELL_PX**2, CELL_PX, window_pages=4, high_resolution_scale=CLOSER
    )
