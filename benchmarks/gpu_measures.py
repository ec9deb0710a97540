"""Clocks for the GPU engine: whole workloads, single stages beside their floors, and how far two answers agree."""

import time
from collections.abc import Callable
from typing import Any

import gpu_work
import numpy as np
import torch

from models.qwen_vl.compute.model_runner import TokenSpan
from models.qwen_vl.engine import ContinuousBatchEngine
from models.qwen_vl.inputs.chat_template import Prompts
from pipeline.engine import Request
from tests.support import qwen_tiny


def median_ms(run: Callable[[], Any], times: int = 7) -> float:
    """Device time of `run`, by events."""
    run()
    found = []
    for _ in range(times):
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        first.record()
        run()
        last.record()
        torch.cuda.synchronize()
        found.append(first.elapsed_time(last))
    return float(np.median(found))


def ceilings() -> dict[str, float]:
    """What this card can do at most: a large bfloat16 product (TFLOP/s), a large copy (TB/s read and written)."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    product = median_ms(lambda: a @ b)
    source = torch.randn(1 << 29, device="cuda").view(torch.uint8)[: 1 << 31]
    target = torch.empty_like(source)
    copy = median_ms(lambda: target.copy_(source))
    torch.cuda.empty_cache()
    return {"matmul_tflops": 2 * 8192**3 / product / 1e9, "copy_tb_s": 2 * (1 << 31) / copy / 1e9}


def drain(engine: ContinuousBatchEngine, requests: list[Request]) -> dict[str, float]:
    engine.reset()
    engine.steps = engine.step_sizes = 0
    torch.cuda.synchronize()
    began = time.perf_counter()
    replies = list(engine.answer(iter(requests)))
    seconds = time.perf_counter() - began
    wrong = [reply for reply in replies if reply.finish == "error"]
    assert not wrong, wrong[0].error
    pages = len({id(request.pages[0]) for request in requests})
    return {
        "pages": pages, "answers": len(replies), "seconds": seconds, "pages_s": pages / seconds,
        "answers_s": len(replies) / seconds, "tokens": sum(r.new_tokens for r in replies) / len(replies),
        "forced": sum(np.isnan(r.free_logprobs).sum() for r in replies) / max(1, sum(r.new_tokens for r in replies)),
        "prompt_tokens": replies[0].prompt_tokens, "steps": engine.steps, "ms_a_step": 1000 * seconds / engine.steps,
        "tokens_a_step": engine.step_sizes / engine.steps, "preempted": engine.scheduler.preemptions,
    }  # fmt: skip


def plain_generate(model: Any, prompts: Prompts, tokens: int = 200) -> dict[str, Any]:
    """transformers' own `generate`, one page at a time, with flash-attn where it is installed."""
    name = "sdpa"
    try:
        model.set_attn_implementation("flash_attention_2")
        name = "flash-attn"
    except (ImportError, ValueError):
        model.set_attn_implementation("sdpa")
    request = gpu_work.free_requests(1, tokens)[0]
    given = qwen_tiny.inputs(request, prompts)
    given["pixel_values"] = given["pixel_values"].to(torch.bfloat16)

    def run(new: int) -> None:
        model.model.rope_deltas = None
        with torch.inference_mode():
            model.generate(**given, max_new_tokens=new, min_new_tokens=new, do_sample=False, pad_token_id=151643)

    run(4)
    torch.cuda.synchronize()
    began = time.perf_counter()
    run(tokens)
    torch.cuda.synchronize()
    return {"attention": name, "pages_s": 1 / (time.perf_counter() - began)}


def stages(engine: ContinuousBatchEngine, ceiling: dict[str, float], sequences: int = 56) -> dict[str, Any]:
    """Device milliseconds of a page's vision, its prefill and a decode step, and the share that cannot be avoided."""
    page = next(gpu_work.pictures(1)).image
    vision, runner, language = engine.vision, engine.runner, engine.language

    def look(count: int) -> Callable[[], None]:
        return lambda: (
            [None for _ in vision.encode([page] * count, [1280 * i for i in range(count)], engine.images, 99)] and None
        )

    found: dict[str, Any] = {"vision_ms": median_ms(look(2)) / 2, "vision_one_page_ms": median_ms(look(1))}
    patches, width, inner = 5120, 1280, 3420
    flops = 32 * 2 * patches * (4 * width * width + 3 * width * inner) + 4 * 4 * patches * patches * width
    flops += 28 * 4 * patches * 64 * width + 2 * 1280 * (5120 * 5120 + 5120 * 3584) + 2 * patches * 1176 * width
    found["vision_floor_ms"] = flops / ceiling["matmul_tflops"] / 1e9
    tokens = 1490
    layer = sum(p.numel() for p in language.text.layers[0].parameters())
    found["prefill_floor_ms"] = 28 * 2 * tokens * layer / ceiling["matmul_tflops"] / 1e9

    def prefill() -> None:
        for at in range(0, tokens, engine.scheduler.step_limit):
            n = min(engine.scheduler.step_limit, tokens - at)
            positions = np.broadcast_to(np.arange(at, at + n, dtype=np.int32), (3, n))
            runner.run([100] * n, positions, range(at, at + n), [TokenSpan(n, 0, at)], [])

    found["prefill_ms"] = median_ms(prefill)
    stride = engine.kv_cache.rows // sequences
    sequences = min(sequences, engine.most_answers)
    spans = [TokenSpan(1, i * stride, 200, i * stride + 256, min(1300, stride - 256)) for i in range(sequences)]
    positions = np.full((3, sequences), 1500, dtype=np.int32)

    def decode() -> None:
        runner.run([100] * sequences, positions, [span.own + 200 for span in spans], spans, list(range(sequences)))
        runner.sample(sequences, False)

    found["decode_ms"] = median_ms(decode)
    weights = (28 * layer + language.head.numel()) * 2
    kept = sum(span.stored + span.page_rows for span in spans) * 57344
    found["decode_floor_ms"] = (weights + kept) / ceiling["copy_tb_s"] / 1e9
    found["decode_sequences"] = sequences
    for name in ("vision", "prefill", "decode"):
        found[f"{name}_share"] = found[f"{name}_floor_ms"] / found[f"{name}_ms"]
    return found


def first_tokens(engine: ContinuousBatchEngine) -> dict[str, float]:
    """Seconds to the first token: a page never seen, then another question about it."""
    engine.reset()  # no page is known
    asks = gpu_work.question_requests(6, 2, 2)
    first, again = [], []
    for i in range(0, len(asks), 2):
        first.append(next(engine.answer([asks[i]])).first_token_s)
        again.append(next(engine.answer([asks[i + 1]])).first_token_s)
    return {"first_s": float(np.median(first)), "follow_up_s": float(np.median(again))}


def agreement(
    model: Any, engine: ContinuousBatchEngine, prompts: Prompts, pages: int = 6, tokens: int = 64
) -> dict[str, float]:
    """Tokens until an answer leaves that of `generate`, beside `generate` against itself in a batch of 4 (bfloat16)."""
    requests = gpu_work.free_requests(pages, tokens)
    alone, batched = [], []
    model.set_attn_implementation("sdpa")
    for request in requests:
        given = qwen_tiny.inputs(request, prompts)
        given["pixel_values"] = given["pixel_values"].to(torch.bfloat16)
        for times, into in ((1, alone), (4, batched)):
            many = {k: v.repeat(times, *([1] * (v.dim() - 1))) for k, v in given.items()}
            model.model.rope_deltas = None
            with torch.inference_mode():
                out = model.generate(
                    **many, max_new_tokens=tokens, do_sample=False, eos_token_id=None, pad_token_id=151643
                )
            into.append(out[0, given["input_ids"].shape[1] :].tolist())
    engine.reset()
    seen: dict[int, list[int]] = {}
    finish = engine.finish

    def note(sequence: Any, reply: Any) -> None:
        seen[id(sequence.request)] = sequence.tokens[sequence.prompt_length :]
        finish(sequence, reply)

    engine.finish = note  # type: ignore[method-assign]
    list(engine.answer(iter(requests)))
    engine.finish = finish  # type: ignore[method-assign]
    mine = [seen[id(request)] for request in requests]

    def same(a: list[int], b: list[int]) -> int:
        return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))

    return {
        "engine_tokens": float(np.mean([same(a, b) for a, b in zip(alone, mine, strict=True)])),
        "generate_batched_tokens": float(np.mean([same(a, b) for a, b in zip(alone, batched, strict=True)])),
        "of": tokens,
    }


def busy(run: Callable[[], Any], kernels: bool = False) -> tuple[Any, float]:
    """What `run` gives, and the share of the time between its first and last kernel in which the device works."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    with record(activities=[ProfilerActivity.CUDA]) as seen:
        found = run()
        torch.cuda.synchronize()
    if kernels:
        gpu_work.say(seen.key_averages().table(sort_by="self_cuda_time_total", row_limit=40, max_name_column_width=60))
    spans = sorted((e.time_range.start, e.time_range.end) for e in seen.events() if str(e.device_type).endswith("CUDA"))
    worked, until = 0.0, spans[0][0]
    for first, last in spans:
        worked += max(0.0, last - max(first, until))
        until = max(until, last)
    return found, worked / (until - spans[0][0])
