"""Parts of benchmarks/gpu.py: the 7B model at its true size, the workloads, and the measurements.

The model has random weights: speed does not depend on them. Every page has 1,280 visual tokens. Answers run to their
full length: there is no end token, and the fields have fixed lengths.
"""

# ruff: noqa: E402  the project is put on the path first
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1])]
import numpy as np
import torch

from models.qwen_vl import page_spec
from models.qwen_vl.compute.model_runner import TokenSpan
from models.qwen_vl.engine import ContinuousBatchEngine
from models.qwen_vl.inputs.chat_template import Prompts
from pipeline.engine import Request
from tests.support import qwen_tiny

HIGH, WIDE = 32 * 28, 40 * 28  # 1,280 cells
FIELDS = {
    "invoice_number": "[0-9]{8}", "issue_date": "20[0-9]{2}-[0-9]{2}-[0-9]{2}",
    "due_date": "20[0-9]{2}-[0-9]{2}-[0-9]{2}", "supplier_name": "[A-Z]{6}", "supplier_vat_id": "DE[0-9]{6}",
    "customer_name": "[A-Z]{6}", "order_number": "[0-9]{5}",
    "currency": "EUR|USD|CNY", "net_amount": "[0-9]{4}\\.[0-9]{2}", "tax_amount": "[0-9]{3}\\.[0-9]{2}",
    "total_amount": "[0-9]{4}\\.[0-9]{2}", "payment_terms": "[0-9]{2} days",
}  # fmt: skip
SCHEMA = {
    "type": "object", "additionalProperties": False, "required": list(FIELDS),
    "properties": {name: {"type": "string", "pattern": f"^({pattern})$"} for name, pattern in FIELDS.items()},
}  # fmt: skip
LONG = "Read the supplier's invoice on this page. Copy every value as it is printed and compute nothing. " * 8
SHORT = "Look at the page again and answer this in one sentence, copying what is printed there and nothing else"


def log(*words: Any) -> None:
    """Progress goes to stderr; stdout has only the result."""
    print(*words, file=sys.stderr, flush=True)


def true_config() -> Any:
    """Qwen2.5-VL-7B-Instruct's shape."""
    from transformers import Qwen2_5_VLConfig

    text = {
        "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "max_position_embeddings": 128000, "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
        "tie_word_embeddings": False,
    }  # fmt: skip
    vision = {
        "depth": 32, "hidden_size": 1280, "num_heads": 16, "intermediate_size": 3420, "out_hidden_size": 3584,
        "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31],
    }  # fmt: skip
    return Qwen2_5_VLConfig(text_config=text, vision_config=vision)


def true_size() -> Any:
    """The 7B model with random weights, on the GPU, in bfloat16."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda"):
            made = Qwen2_5_VLForConditionalGeneration(true_config())
    finally:
        torch.set_default_dtype(default)
    return made.to(torch.bfloat16).eval()


def pictures(count: int) -> Iterator[Any]:
    """Pages of random pixels, all different."""
    base = np.random.default_rng(0).integers(0, 256, (HIGH, WIDE, 3), dtype=np.uint8)
    for i in range(count):
        yield qwen_tiny.shown(np.roll(base, 97 * i + 1, axis=1) ^ np.uint8(i % 251))


def free_requests(pages: int, tokens: int = 200) -> list[Request]:
    """Free text of `tokens` tokens."""
    return [qwen_tiny.ask([page], LONG, most=tokens, system="") for page in pictures(pages)]


def mixed_requests(pages: int) -> list[Request]:
    """Free text: one answer in ten has 800 tokens, the others 200."""
    lengths = (800 if i % 10 == 9 else 200 for i in range(pages))
    return [qwen_tiny.ask([page], LONG, most=n, system="") for page, n in zip(pictures(pages), lengths, strict=True)]


def json_requests(pages: int) -> list[Request]:
    """12 fields of fixed length as JSON."""
    return [qwen_tiny.ask([page], LONG, SCHEMA, most=400, system="") for page in pictures(pages)]


def question_requests(pages: int, questions: int = 4, tokens: int = 50) -> list[Request]:
    """Several questions about each page, answered in free text."""
    asks = [
        f"{SHORT} ({'abcdefgh'[i]}), please, with all of its parts in the order of the page." for i in range(questions)
    ]
    return [qwen_tiny.ask([page], ask, most=tokens, system="") for page in pictures(pages) for ask in asks]


def _free(tokens: int) -> tuple[str, Callable[[int], list[Request]]]:
    return f"{tokens} free tokens", lambda pages: free_requests(pages, tokens)


# Every length counts: 200 tokens alone show nothing of answers that outgrow their first memory.
WORKLOADS: dict[str, tuple[str, Callable[[int], list[Request]]]] = {
    **{str(tokens): _free(tokens) for tokens in (200, 300, 400, 600)},
    "mixed": ("one answer in ten 800 free tokens, the rest 200", mixed_requests),
    "json": ("12 fields as JSON", json_requests),
    "questions": ("4 questions a page × 50 tokens", question_requests),
}


# ---- measurements
def median_ms(run: Callable[[], Any], times: int = 7) -> float:
    """Median device time of `run` in milliseconds, by CUDA events."""
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
    """The limits of this card: a large bfloat16 product (TFLOP/s) and a large copy (TB/s read and written)."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    product = median_ms(lambda: a @ b)
    source = torch.randn(1 << 29, device="cuda").view(torch.uint8)[: 1 << 31]
    target = torch.empty_like(source)
    copy = median_ms(lambda: target.copy_(source))
    torch.cuda.empty_cache()
    return {"matmul_tflops": 2 * 8192**3 / product / 1e9, "copy_tb_s": 2 * (1 << 31) / copy / 1e9}


def drain(engine: ContinuousBatchEngine, requests: list[Request]) -> dict[str, float]:
    """Throughput over all requests, from a cold cache to the last reply."""
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
    request = free_requests(1, tokens)[0]
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
    """Device milliseconds of a page's vision, its prefill and a decode step, each with its floor.

    The floor is the time of the matrix products at the card's measured rate, for decode that of the bytes read.
    """
    page = next(pictures(1)).image
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
    """Median seconds to the first token: of a new page, and of another question about it."""
    engine.reset()  # no page is cached
    asks = question_requests(6, 2, 2)
    first, again = [], []
    for i in range(0, len(asks), 2):
        first.append(next(engine.answer([asks[i]])).first_token_s)
        again.append(next(engine.answer([asks[i + 1]])).first_token_s)
    return {"first_s": float(np.median(first)), "follow_up_s": float(np.median(again))}


def agreement(
    model: Any, engine: ContinuousBatchEngine, prompts: Prompts, pages: int = 6, tokens: int = 64
) -> dict[str, float]:
    """Tokens until an answer first differs from `generate`, and the same for `generate` in a batch of 4 (bfloat16)."""
    requests = free_requests(pages, tokens)
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
    """The result of `run`, and the share of the time from its first to its last kernel in which the device works."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    with record(activities=[ProfilerActivity.CUDA]) as seen:
        found = run()
        torch.cuda.synchronize()
    if kernels:
        log(seen.key_averages().table(sort_by="self_cuda_time_total", row_limit=40, max_name_column_width=60))
    spans = sorted((e.time_range.start, e.time_range.end) for e in seen.events() if str(e.device_type).endswith("CUDA"))
    worked, until = 0.0, spans[0][0]
    for first, last in spans:
        worked += max(0.0, last - max(first, until))
        until = max(until, last)
    return found, worked / (until - spans[0][0])


# ---- the whole pipeline
JOB = """
name: bench
preprocess: []
max_new_tokens: 400
instructions: Read the supplier's invoice. Copy values as printed and compute nothing.
fields:
"""


class BenchmarkEngine:
    """A `ContinuousBatchEngine` behind the `Engine` protocol."""

    name, page_spec = "qwen_vl", page_spec()

    def __init__(self, engine: ContinuousBatchEngine) -> None:
        self.answer = engine.answer

    def unsupported_reason(self, job: Any) -> None:
        return None

    def provenance(self) -> dict[str, str]:
        return {"engine": "qwen_vl", "weights": "random"}

    def close(self) -> None:
        return None


def write_scans(folder: Path, count: int) -> None:
    """A4 pages at 200 dpi as JPEG: paper with rows of dark marks, all different."""
    from PIL import Image

    dice = np.random.default_rng(0)
    paper = dice.integers(225, 250, (2339, 1654), dtype=np.uint8)
    for top in range(150, 2200, 44):
        for left in range(120, 1500, 18):
            if dice.random() < 0.6:
                paper[top : top + 22, left : left + dice.integers(3, 14)] = dice.integers(20, 90)
    for i in range(count):
        Image.fromarray(np.roll(paper, (13 * i, 29 * i), (0, 1))).convert("RGB").save(
            folder / f"scan{i}.jpg", quality=85
        )


def from_files(engine: ContinuousBatchEngine, pages: int) -> dict[str, float]:
    """Throughput of the whole pipeline over JPEG files, and of the engine alone on the same pages and questions."""
    from pipeline.core.types import Page
    from pipeline.extraction import prompt
    from pipeline.preprocessing.page_loader import PageLoader, PagePreparation
    from pipeline.reporting.events import EventFanout
    from pipeline.runs.session import Session, decoders
    from pipeline.schema.job import parse_job
    from pipeline.schema.settings import Settings

    lines = [f"  {name}: {{type: text, pattern: '{pattern}'}}" for name, pattern in FIELDS.items()]
    job = parse_job((JOB + "\n".join(lines) + "\n").encode())
    root = Path(tempfile.mkdtemp())
    settings = Settings(root=root, settle_s=0.0)
    (root / "inbox" / "bench").mkdir(parents=True)
    write_scans(root / "inbox" / "bench", pages)
    files = sorted((root / "inbox" / "bench").iterdir())
    read: list[Page] = []
    with decoders(settings) as pool:
        loader, left = PageLoader(pool, settings.limits), list(files)
        while len(read) < pages:
            while left and loader.room:
                loader.ask(replace(qwen_tiny.DOCUMENT, path=left.pop()), PagePreparation((), None, page_spec()), 1, 1)
            read += [page for task in loader.ready(0.1) for page in task.result().pages]
    alone = drain(engine, [prompt.ask(job, qwen_tiny.DOCUMENT, [page]) for page in read])
    engine.reset()

    with Session(settings, [job], BenchmarkEngine(engine), "benchmark", EventFanout()) as session:
        run_report, share = busy(session.batch)
    seconds = run_report.summary()["seconds"]
    assert run_report.summary()["done"] == pages, run_report.summary()
    return {"pages": pages, "pages_s": pages / seconds, "alone_pages_s": alone["pages_s"], "busy": share,
            "tokens": alone["tokens"]}  # fmt: skip
