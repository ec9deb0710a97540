"""The engine `qwen_vl`: Qwen2.5-VL on one GPU or, slowly, on a CPU.

torch and transformers are imported when a `QwenVL` is created, not before.
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
HIGH_RESOLUTION = 2.0  # times the tokens of a page in a second pass: as much as two pages, which the memory plan covers
CELL_PX = 28
_log = logging.getLogger("scanmill")


class QwenVL:
    """Loads the weights folder and answers requests. Raises ModelError if it cannot run on this machine.

    `pulse` is called between steps, as a heartbeat. `lengths`: the measured answer lengths of each job; the engine adds
    to it.
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
        """The reason why decoding cannot enforce the job's schema, if it cannot."""
        from pipeline.schema.fields import object_schema

        from .inputs.grammar import Unenforceable

        try:
            self.engine.grammar.matcher(object_schema(job.fields))
        except Unenforceable as error:
            return f"the schema of the answer cannot be enforced while decoding: {error}"
        return None

    def answer(self, requests: Iterable[Request | None]) -> Iterator[Reply | Partial]:
        return self.engine.answer(requests)

    def provenance(self) -> Mapping[str, str]:
        return self._provenance

    def close(self) -> None:
        self.engine.reset()


def page_spec(low_resolution: bool = False) -> PageSpec:
    """Pages of about 1,280 visual tokens, twice that in a second pass; in low resolution at most 768 px a side."""
    side = 756 if low_resolution else 4096 // CELL_PX * CELL_PX
    return PageSpec(
        side, PAGE_TOKENS * CELL_PX**2, 4 * CELL_PX**2, CELL_PX, window_pages=4, high_resolution_scale=HIGH_RESOLUTION
    )
