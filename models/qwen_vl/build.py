"""Builds the engine from a weights folder: checks kernels, plans memory, captures CUDA graphs."""

import importlib.metadata
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.core.errors import ModelError
from pipeline.engine import PageSpec

from .compute import memory_plan
from .compute.kernel_choice import pick
from .compute.kv_cache import KVCache, row_bytes
from .compute.language_model import Language
from .compute.model_runner import ModelRunner, TokenSpan
from .compute.vision_encoder import Vision, check_shape
from .engine import ContinuousBatchEngine
from .inputs.chat_template import Prompts
from .inputs.grammar import Grammar
from .inputs.image_processor import CELL
from .scheduling.answer_lengths import AnswerLengths
from .weights import load_weights
from .weights.weights_folder import check
from .weights.weights_folder import digest as digest_of

STEP_TOKENS = 1024  # tokens of a step: decoding sequences first, then prompts; see StepScheduler
ANSWERS = 256  # sequences that run at once
VISION_TOKENS = 2560  # of a pass of the vision encoder: two pages, or one in a second pass
CPU_KV_TOKENS = 16384


def start(
    folder: Path,
    page_spec: PageSpec,
    device: torch.device,
    vram_gib: float | None,
    say: Callable[[str], None],
    lengths: AnswerLengths | None,
) -> tuple[ContinuousBatchEngine, dict[str, str]]:
    """Load the weights and build the engine. -> the engine and its provenance. Raises ModelError."""
    check(folder)
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    budget = memory_plan.budget_bytes(device, vram_gib) if device.type == "cuda" else 0
    began = time.perf_counter()
    model = load_weights.load(folder, device, dtype)
    loaded = time.perf_counter()
    engine, attention = build(model, Prompts(folder), page_spec, budget, say, lengths=lengths)
    digest = digest_of(folder)
    say(f"qwen_vl is ready: weights in {loaded - began:.1f} s, the rest in {time.perf_counter() - loaded:.1f} s")
    return engine, {
        "engine": "qwen_vl",
        "weights": digest,
        "weights_name": folder.name,
        "attention": attention,
        "transformers": importlib.metadata.version("transformers"),
        "torch": torch.__version__,
    }


def build(
    model: Any,
    prompts: Prompts,
    page_spec: PageSpec,
    budget: int,
    say: Callable[[str], None],
    *,
    step_tokens: int = STEP_TOKENS,
    answers: int = ANSWERS,
    vision_tokens: int = VISION_TOKENS,
    kv_tokens: int | None = None,
    ends: Iterable[int] | None = None,
    jump: bool = True,
    lengths: AnswerLengths | None = None,
) -> tuple[ContinuousBatchEngine, str]:
    """Build an engine for a loaded model. -> the engine and the names of its kernels.

    budget: bytes of GPU memory for this process (CUDA only). Raises ModelError if the model does not fit.
    """
    vision_config, text = model.config.vision_config, model.config.get_text_config()
    if fault := check_shape(vision_config):
        raise ModelError(f"This model's vision encoder is not supported: {fault}.")
    device, dtype = model.device, model.dtype
    vision_head = vision_config.hidden_size // vision_config.num_heads
    text_head = text.hidden_size // text.num_attention_heads
    ops, attention = pick(device, dtype, vision_head, text_head)
    say(attention)
    language, vision = Language(model, ops), Vision(model.model.visual, ops)
    page_tokens = min(page_spec.max_pixels, page_spec.max_side_px**2) // CELL**2
    picture_rows = max(2 * vision_tokens, 2 * page_tokens * page_spec.window_pages)
    images = torch.zeros(picture_rows, text.hidden_size, dtype=dtype, device=device)
    shape = text.num_hidden_layers, text.num_key_value_heads, text_head
    if device.type == "cuda" and kv_tokens is None:
        row = row_bytes(*shape, dtype)
        work = _work_bytes(language, vision, images, step_tokens, answers, vision_tokens)
        kv_tokens = memory_plan.kv_budget(budget, work, row)
        needed = page_tokens + 768
        if kv_tokens < needed:
            raise memory_plan.too_small(budget, kv_tokens, needed)
        held = torch.cuda.memory_allocated() - images.nbytes
        total, held_gib, work_gib, pictures, kv = (
            x / memory_plan.GIB for x in (budget, held, work, images.nbytes, kv_tokens * row)
        )
        plan = memory_plan.Plan(total, held_gib, work_gib, pictures, kv, kv_tokens, step_tokens, vision_tokens)
        say(plan.words(page_tokens + 400))
    kv_cache = KVCache(*shape, kv_tokens or CPU_KV_TOKENS, dtype, device)
    grammar = Grammar(prompts.json, language.head.shape[0], prompts.end)
    engine = ContinuousBatchEngine(
        language, vision, prompts, page_spec, kv_cache, images, grammar=grammar, step_tokens=step_tokens,
        vision_tokens=vision_tokens, answers=answers, ends=ends, jump=jump, lengths=lengths,
    )  # fmt: skip
    engine.runner.capture()
    return engine, attention


def _work_bytes(language: Language, vision: Vision, images: torch.Tensor, step_tokens: int, answers: int,
                vision_tokens: int) -> int:  # fmt: skip
    """Measure the working memory of the largest vision pass and the largest step, in bytes."""
    text = language.config
    picture = np.random.default_rng(0).integers(0, 256, (CELL, CELL * 64, 3), dtype=np.uint8)
    pictures = [picture] * max(1, vision_tokens // 64)

    def look() -> None:
        starts = [64 * i for i in range(len(pictures))]
        for _ in vision.encode(pictures, starts, images, len(vision.layers)):
            pass

    def step() -> None:
        kv_cache = KVCache(
            text.num_hidden_layers, language.kv_heads, language.size, step_tokens, images.dtype, images.device
        )
        runner = ModelRunner(language, kv_cache, images, step_tokens, answers)
        rows = list(range(step_tokens))
        positions = np.zeros((3, step_tokens), dtype=np.int32)
        runner.run([0] * step_tokens, positions, rows, [TokenSpan(step_tokens, 0, 0)], rows[:answers])
        runner.sample(answers, True)
        torch.cuda.synchronize()

    return memory_plan.peak_of(look) + memory_plan.peak_of(step)  # graphs of steps have a memory pool of their own
