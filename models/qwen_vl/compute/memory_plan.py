"""Plans the GPU memory: the budget, the size of each part, and what is left for the KV cache."""

from dataclasses import dataclass
from typing import Any

import torch

from pipeline.core.errors import ModelError

GIB = 1 << 30
CONTEXT_GIB = 0.75  # CUDA context and loaded kernels, outside PyTorch's count; 0.72 measured on an H200
GRAPHS_GIB = 0.35  # CUDA graphs, without the memory of the largest step
MARGIN_GIB = 0.35  # fragmentation in PyTorch's allocator


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes in GiB, and three token counts. `budget`: the smaller of the free memory and the config's `vram_gib`."""

    budget: float
    weights: float
    work: float
    pictures: float
    kv: float
    kv_tokens: int
    step_tokens: int
    vision_tokens: int

    def words(self, page_tokens: int) -> str:
        return (
            f"memory plan: {self.budget:.1f} GiB = weights {self.weights:.1f} + context {CONTEXT_GIB:.1f} "
            f"+ vision and steps {self.work:.1f} + pictures {self.pictures:.1f} + graphs {GRAPHS_GIB:.1f} "
            f"+ margin {MARGIN_GIB:.1f} + "
            f"keys and values {self.kv:.1f} ({self.kv_tokens:,} tokens: about {self.kv_tokens // page_tokens} pages "
            f"of {page_tokens:,} tokens at once; steps of {self.step_tokens}, vision of {self.vision_tokens} tokens)"
        )


def budget_bytes(device: torch.device, vram_gib: float | None) -> int:
    """The memory that this process may use, in bytes. Call before anything is loaded."""
    free, total = torch.cuda.mem_get_info(device)
    held = int(CONTEXT_GIB * GIB)  # the context of this process is already allocated
    allowed = min(total, free + held)
    budget = min(allowed, int(vram_gib * GIB)) if vram_gib else allowed
    torch.cuda.set_per_process_memory_fraction(max(0.01, (budget - held) / total), device.index or 0)
    return budget


def kv_budget(budget: int, work: int, row: int) -> int:
    """Rows of the KV cache that fit beside the memory in use (weights, images) and the working memory."""
    torch.cuda.empty_cache()
    fixed = int((CONTEXT_GIB + GRAPHS_GIB + MARGIN_GIB) * GIB)
    return max(0, budget - fixed - torch.cuda.memory_reserved() - work) // row


def too_small(budget: int, rows: int, needed: int) -> ModelError:
    return ModelError(
        f"Qwen2.5-VL does not fit: with {budget / GIB:.1f} GiB for this process, room for {max(0, rows):,} tokens of "
        f"keys and values is left beside the weights, and one page needs {needed:,}. Free GPU memory, raise "
        "`vram_gib`, or set `low_resolution: true` (configs/low_memory.yaml)."
    )


def peak_of(run: Any) -> int:
    """The peak memory of `run()` in bytes, above what was allocated before."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() - before
    torch.cuda.empty_cache()
    return peak
