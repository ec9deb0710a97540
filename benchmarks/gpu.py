"""How fast the GPU engine is: one command, the 7B at true size with random weights, everything in one run.

    python benchmarks/gpu.py --vram-gib 24 --from-files --agreement     # the table; --json for machines

Weights are random because speed does not depend on them; answers are held to their length (no end token, fixed schema).
Needs the extras `gpu` and `test-gpu` (the true tokenizer). Pages have 1,280 visual and about 190 text tokens.
"""

# ruff: noqa: E402  the project and its tiny test model are put on the path first
import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests")]
import qwen_tiny

from models.qwen_vl import memory, setup, wants
from models.qwen_vl.engine import Engine
from models.qwen_vl.prompts import Prompts
from models.qwen_vl.step import Span
from pipeline.types import Request

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


def say(*words: Any) -> None:
    print(*words, file=sys.stderr, flush=True)


def true_size() -> Any:
    """Qwen2.5-VL-7B-Instruct's shape with random weights, on the GPU, in bfloat16."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

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
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda"):
            made = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision))
    finally:
        torch.set_default_dtype(default)
    return made.to(torch.bfloat16).eval()


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


def pictures(count: int) -> Iterator[Any]:
    base = np.random.default_rng(0).integers(0, 256, (HIGH, WIDE, 3), dtype=np.uint8)
    for i in range(count):
        yield qwen_tiny.shown(np.roll(base, 97 * i + 1, axis=1) ^ np.uint8(i % 251), f"page{i}")


def free_requests(pages: int, tokens: int = 200) -> list[Request]:
    return [qwen_tiny.ask([page], LONG, most=tokens, system="") for page in pictures(pages)]


def json_requests(pages: int) -> list[Request]:
    return [qwen_tiny.ask([page], LONG, SCHEMA, most=400, system="") for page in pictures(pages)]


def question_requests(pages: int, questions: int = 4, tokens: int = 50) -> list[Request]:
    asks = [
        f"{SHORT} ({'abcdefgh'[i]}), please, with all of its parts in the order of the page." for i in range(questions)
    ]
    return [qwen_tiny.ask([page], ask, most=tokens, system="") for page in pictures(pages) for ask in asks]


def drain(engine: Engine, requests: list[Request]) -> dict[str, float]:
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
        "tokens_a_step": engine.step_sizes / engine.steps, "preempted": engine.preempted,
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


def stages(engine: Engine, ceiling: dict[str, float], sequences: int = 56) -> dict[str, Any]:
    """Device milliseconds of a page's vision, its prefill and a decode step, and the share that cannot be avoided."""
    page = next(pictures(1)).image
    vision, stepper, language = engine.vision, engine.stepper, engine.language

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
        for at in range(0, tokens, engine.step_tokens):
            n = min(engine.step_tokens, tokens - at)
            positions = np.broadcast_to(np.arange(at, at + n, dtype=np.int32), (3, n))
            stepper.forward([100] * n, positions, range(at, at + n), [Span(n, 0, at)], [])

    found["prefill_ms"] = median_ms(prefill)
    stride = engine.pool.rows // sequences
    sequences = min(sequences, engine.most_answers)
    spans = [Span(1, i * stride, 200, i * stride + 256, min(1300, stride - 256)) for i in range(sequences)]
    positions = np.full((3, sequences), 1500, dtype=np.int32)

    def decode() -> None:
        stepper.forward([100] * sequences, positions, [span.own + 200 for span in spans], spans, list(range(sequences)))
        stepper.sample(sequences, False)

    found["decode_ms"] = median_ms(decode)
    weights = (28 * layer + language.head.numel()) * 2
    kept = sum(span.stored + span.page_rows for span in spans) * 57344
    found["decode_floor_ms"] = (weights + kept) / ceiling["copy_tb_s"] / 1e9
    found["decode_sequences"] = sequences
    for name in ("vision", "prefill", "decode"):
        found[f"{name}_share"] = found[f"{name}_floor_ms"] / found[f"{name}_ms"]
    return found


def first_tokens(engine: Engine) -> dict[str, float]:
    """Seconds to the first token: a page never seen, then another question about it."""
    engine.reset()  # no page is known
    asks = question_requests(6, 2, 2)
    first, again = [], []
    for i in range(0, len(asks), 2):
        first.append(next(engine.answer([asks[i]])).first_token_s)
        again.append(next(engine.answer([asks[i + 1]])).first_token_s)
    return {"first_s": float(np.median(first)), "follow_up_s": float(np.median(again))}


def agreement(model: Any, engine: Engine, prompts: Prompts, pages: int = 6, tokens: int = 64) -> dict[str, float]:
    """Tokens until an answer leaves that of `generate`, beside `generate` against itself in a batch of 4 (bfloat16)."""
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
    leave = engine._leave

    def note(answer: Any) -> None:
        seen[id(answer.request)] = answer.tokens[answer.asked :]
        leave(answer)

    engine._leave = note  # type: ignore[method-assign]
    list(engine.answer(iter(requests)))
    engine._leave = leave  # type: ignore[method-assign]
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
        say(seen.key_averages().table(sort_by="self_cuda_time_total", row_limit=40, max_name_column_width=60))
    spans = sorted((e.time_range.start, e.time_range.end) for e in seen.events() if str(e.device_type).endswith("CUDA"))
    worked, until = 0.0, spans[0][0]
    for first, last in spans:
        worked += max(0.0, last - max(first, until))
        until = max(until, last)
    return found, worked / (until - spans[0][0])


JOB = """
name: bench
preprocess: []
max_new_tokens: 400
instructions: Read the supplier's invoice. Copy values as printed and compute nothing.
fields:
"""


class Told:
    """The engine as the pipeline sees it."""

    name, wants = "qwen_vl", wants()

    def __init__(self, engine: Engine) -> None:
        self.answer = engine.answer

    def refuses(self, job: Any) -> None:
        return None

    def provenance(self) -> dict[str, str]:
        return {"engine": "qwen_vl", "weights": "random"}

    def close(self) -> None:
        return None


def write_scans(folder: Path, count: int) -> None:
    """A4 pages at 200 dpi as JPEG, paper with rows of dark marks, no two alike."""
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


def from_files(engine: Engine, pages: int) -> dict[str, float]:
    """The whole pipeline over JPEG files, beside the engine alone on the same pages and questions."""
    from pipeline import prompt
    from pipeline.job import parse_job
    from pipeline.mill import Mill, decoders
    from pipeline.pages import Pages, Plan
    from pipeline.settings import Settings
    from pipeline.types import Page

    lines = [f"  {name}: {{type: text, pattern: '{pattern}'}}" for name, pattern in FIELDS.items()]
    job = parse_job((JOB + "\n".join(lines) + "\n").encode())
    root = Path(tempfile.mkdtemp())
    settings = Settings(root=root, settle_s=0.0)
    (root / "inbox" / "bench").mkdir(parents=True)
    write_scans(root / "inbox" / "bench", pages)
    files = sorted((root / "inbox" / "bench").iterdir())
    read: list[Page] = []
    with decoders(settings) as pool:
        desk, left = Pages(pool, settings.limits), list(files)
        while len(read) < pages:
            while left and desk.room:
                document = qwen_tiny.shown(np.zeros((28, 28, 3), np.uint8)).document
                desk.ask(replace(document, path=left.pop()), Plan((), None, Told.wants), 1, 1)
            read += [page for ticket in desk.ready(0.1) for page in ticket.result().pages]
    alone = drain(engine, [prompt.ask(job, page.document, [page]) for page in read])
    engine.reset()

    class Quiet:
        def note(self, text: str) -> None: ...
        def started(self, waiting: int) -> None: ...
        def answering(self, document_id: str, text: str) -> None: ...
        def finished(self, entry: Any) -> None: ...
        def ended(self, account: Any) -> None: ...

    with Mill(settings, [job], Told(engine), "benchmark", Quiet()) as mill:
        account, share = busy(mill.batch)
    seconds = account.summary()["seconds"]
    assert account.summary()["done"] == pages, account.summary()
    return {"pages": pages, "pages_s": pages / seconds, "alone_pages_s": alone["pages_s"], "busy": share,
            "tokens": alone["tokens"]}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--vram-gib", type=float, default=24.0)
    parser.add_argument("--pages", type=int, default=240)
    parser.add_argument("--step-tokens", type=int, default=setup.STEP_TOKENS)
    parser.add_argument("--vision-tokens", type=int, default=2560)
    parser.add_argument("--answers", type=int, default=setup.ANSWERS)
    parser.add_argument("--no-baseline", action="store_true")
    parser.add_argument("--agreement", action="store_true", help="compare bfloat16 answers with those of generate")
    parser.add_argument("--from-files", action="store_true", help="also run the whole pipeline over JPEG files")
    parser.add_argument("--profile", action="store_true", help="print the kernels")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    result: dict[str, Any] = {
        "card": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "vram_gib": given.vram_gib,
    }
    result["date"] = time.strftime("%Y-%m-%d")
    result["ceilings"] = ceilings()
    say(result)
    budget = memory.budget_bytes(torch.device("cuda"), given.vram_gib)
    model = true_size()
    prompts = Prompts(qwen_tiny.folder(Path(tempfile.mkdtemp())))
    if not given.no_baseline:
        result["generate"] = plain_generate(model, prompts)
        say("generate", result["generate"])
    torch.cuda.empty_cache()
    began = time.perf_counter()
    engine, result["attention"] = setup.build(
        model, prompts, wants(), budget, say, step_tokens=given.step_tokens, answers=given.answers,
        vision_tokens=given.vision_tokens, ends=(),
    )  # fmt: skip
    torch.cuda.synchronize()
    result["start_s"] = time.perf_counter() - began
    say(f"start {result['start_s']:.1f} s")
    drain(engine, free_requests(8, 20))
    torch.cuda.reset_peak_memory_stats()
    result["stages"] = stages(engine, result["ceilings"])
    say(result["stages"])
    result["free"] = drain(engine, free_requests(given.pages))
    say("200 free tokens", result["free"])
    result["json_12_fields"] = drain(engine, json_requests(given.pages))
    say("12 fields", result["json_12_fields"])
    result["four_questions"] = drain(engine, question_requests(given.pages))
    say("4 questions", result["four_questions"])
    result["first_token"] = first_tokens(engine)
    result["peak_gib"] = torch.cuda.max_memory_reserved() / memory.GIB + memory.CONTEXT_GIB
    say(result["first_token"], "peak", result["peak_gib"])
    engine.reset()
    _, result["busy"] = busy(lambda: list(engine.answer(iter(free_requests(120)))), given.profile)
    say(f"device busy {result['busy']:.1%}")
    if given.from_files:
        result["from_files"] = from_files(engine, given.pages)
        say("from files", result["from_files"])
    if given.agreement:
        torch.cuda.set_per_process_memory_fraction(1.0)  # generate in a batch needs more beside the engine
        result["agreement"] = agreement(model, engine, prompts)
        say(result["agreement"])
    if given.json:
        print(json.dumps(result))
    else:
        print(table(result))


WORKLOADS = {
    "free": "200 free tokens",
    "json_12_fields": "12 fields as JSON",
    "four_questions": "4 questions a page × 50 tokens",
}


def table(result: dict[str, Any]) -> str:
    """The run as Markdown."""
    most, stage, first = result["ceilings"], result["stages"], result["first_token"]
    lines = [
        f"{result['date']}, {result['card']} held to {result['vram_gib']:g} GiB, torch {result['torch']}; on this card "
        f"a large matrix product runs at {most['matmul_tflops']:.0f} TFLOP/s, a copy at {most['copy_tb_s']:.2f} TB/s",
        "",
        "| workload | pages/s | answers/s | tokens an answer | forced | steps |",
        "|---|---|---|---|---|---|",
    ]
    if "generate" in result:
        plain = result["generate"]
        lines.append(f"| plain `generate` ({plain['attention']}), 200 tokens | {plain['pages_s']:.2f} | | 200 | | |")
    for name, words in WORKLOADS.items():
        r = result[name]
        lines.append(
            f"| {words} | {r['pages_s']:.2f} | {r['answers_s']:.1f} | {r['tokens']:.0f} | {r['forced']:.0%} | "
            f"{r['steps']} of {r['ms_a_step']:.1f} ms |"
        )
    lines += ["", "| stage | ms | floor ms | share of the floor |", "|---|---|---|---|"]
    stages_ = {
        "vision": "vision, a page (of two)",
        "prefill": "prefill, a page of 1,490 tokens",
        "decode": f"decode step, {stage['decode_sequences']} sequences",
    }
    for name, words in stages_.items():
        ms, floor = stage[f"{name}_ms"], stage[f"{name}_floor_ms"]
        lines.append(f"| {words} | {ms:.1f} | {floor:.1f} | {stage[f'{name}_share']:.0%} |")
    lines += [
        "",
        f"Peak {result['peak_gib']:.1f} GiB · start {result['start_s']:.0f} s without weights · first token "
        f"{1000 * first['first_s']:.0f} ms, of a follow-up question {1000 * first['follow_up_s']:.1f} ms · device "
        f"busy {result['busy']:.0%} of a run of 120 pages, filling and draining included · {result['attention']}",
    ]
    if "from_files" in result:
        r = result["from_files"]
        lines += [
            "",
            f"From JPEG files (A4, 200 dpi) through the whole pipeline: {r['pages_s']:.2f} pages/s; the engine alone "
            f"on the same questions {r['alone_pages_s']:.2f} ({r['tokens']:.0f} tokens an answer); device busy "
            f"{r['busy']:.0%}",
        ]
    if "agreement" in result:
        r = result["agreement"]
        lines += [
            "",
            f"Of {r['of']} tokens in bfloat16, {r['engine_tokens']:.1f} agree with `generate` before the first "
            f"difference; `generate` in a batch of 4 agrees with itself for {r['generate_batched_tokens']:.1f}",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
