"""How fast the GPU engine is: one command, the 7B at true size with random weights, everything in one run.

    python benchmarks/gpu.py --vram-gib 24 --from-files --agreement     # the table; --json for machines
    python benchmarks/gpu.py --no-baseline --only 300,600               # some of the workloads

Weights are random because speed does not depend on them; answers are held to their length (no end token, fixed schema).
Needs the extras `gpu` and `test-gpu` (the true tokenizer). Pages have 1,280 visual and about 190 text tokens.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpu_files  # puts the project on the path
import gpu_measures
import gpu_work
import torch

from models.qwen_vl import build, page_spec
from models.qwen_vl.compute import memory_plan
from models.qwen_vl.inputs.chat_template import Prompts
from pipeline.engine import Request
from tests.support import qwen_tiny


def _free(tokens: int) -> tuple[str, Callable[[int], list[Request]]]:
    return f"{tokens} free tokens", lambda pages: gpu_work.free_requests(pages, tokens)


# All lengths, always: 200 tokens alone say nothing of answers that outgrow their first memory.
WORKLOADS: dict[str, tuple[str, Callable[[int], list[Request]]]] = {
    **{str(tokens): _free(tokens) for tokens in (200, 300, 400, 600)},
    "mixed": ("one answer in ten 800 free tokens, the rest 200", gpu_work.mixed_requests),
    "json": ("12 fields as JSON", gpu_work.json_requests),
    "questions": ("4 questions a page × 50 tokens", gpu_work.question_requests),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--vram-gib", type=float, default=24.0)
    parser.add_argument("--pages", type=int, default=240)
    parser.add_argument("--step-tokens", type=int, default=build.STEP_TOKENS)
    parser.add_argument("--vision-tokens", type=int, default=2560)
    parser.add_argument("--answers", type=int, default=build.ANSWERS)
    parser.add_argument("--no-baseline", action="store_true")
    parser.add_argument("--only", default="", help=f"some workloads, separated by commas: {', '.join(WORKLOADS)}")
    parser.add_argument("--agreement", action="store_true", help="compare bfloat16 answers with those of generate")
    parser.add_argument("--from-files", action="store_true", help="also run the whole pipeline over JPEG files")
    parser.add_argument("--profile", action="store_true", help="print the kernels")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    result: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"), "card": torch.cuda.get_device_name(), "torch": torch.__version__,
        "vram_gib": given.vram_gib,
    }  # fmt: skip
    result["ceilings"] = gpu_measures.ceilings()
    gpu_work.say(result)
    budget = memory_plan.budget_bytes(torch.device("cuda"), given.vram_gib)
    model = gpu_work.true_size()
    prompts = Prompts(qwen_tiny.folder(Path(tempfile.mkdtemp())))
    if not given.no_baseline:
        result["generate"] = gpu_measures.plain_generate(model, prompts)
        gpu_work.say("generate", result["generate"])
    torch.cuda.empty_cache()
    began = time.perf_counter()
    engine, result["attention"] = build.build(
        model, prompts, page_spec(), budget, gpu_work.say, step_tokens=given.step_tokens, answers=given.answers,
        vision_tokens=given.vision_tokens, ends=(),
    )  # fmt: skip
    torch.cuda.synchronize()
    result["start_s"] = time.perf_counter() - began
    gpu_work.say(f"start {result['start_s']:.1f} s")
    gpu_measures.drain(engine, gpu_work.free_requests(8, 20))
    torch.cuda.reset_peak_memory_stats()
    result["stages"] = gpu_measures.stages(engine, result["ceilings"])
    gpu_work.say(result["stages"])
    result["workloads"] = {}
    for name in given.only.split(",") if given.only else WORKLOADS:
        words, make = WORKLOADS[name]
        result["workloads"][name] = gpu_measures.drain(engine, make(given.pages))
        gpu_work.say(words, result["workloads"][name])
    result["first_token"] = gpu_measures.first_tokens(engine)
    result["peak_gib"] = torch.cuda.max_memory_reserved() / memory_plan.GIB + memory_plan.CONTEXT_GIB
    gpu_work.say(result["first_token"], "peak", result["peak_gib"])
    engine.reset()
    _, result["busy"] = gpu_measures.busy(lambda: list(engine.answer(iter(gpu_work.free_requests(120)))), given.profile)
    gpu_work.say(f"device busy {result['busy']:.1%}")
    if given.from_files:
        result["from_files"] = gpu_files.from_files(engine, given.pages)
        gpu_work.say("from files", result["from_files"])
    if given.agreement:
        torch.cuda.set_per_process_memory_fraction(1.0)  # generate in a batch needs more beside the engine
        result["agreement"] = gpu_measures.agreement(model, engine, prompts)
        gpu_work.say(result["agreement"])
    if given.json:
        print(json.dumps(result))
    else:
        print(table(result))


def table(result: dict[str, Any]) -> str:
    """The run as Markdown."""
    most, stage, first = result["ceilings"], result["stages"], result["first_token"]
    lines = [
        f"{result['date']}, {result['card']} held to {result['vram_gib']:g} GiB, torch {result['torch']}; on this card "
        f"a large matrix product runs at {most['matmul_tflops']:.0f} TFLOP/s, a copy at {most['copy_tb_s']:.2f} TB/s",
        "",
        "| workload | pages | pages/s | answers/s | tokens an answer | forced | steps | preempted |",
        "|---|---|---|---|---|---|---|---|",
    ]
    if "generate" in result:
        plain = result["generate"]
        lines.append(
            f"| plain `generate` ({plain['attention']}), 200 tokens | | {plain['pages_s']:.2f} | | 200 | | | |"
        )
    for name, r in result["workloads"].items():
        lines.append(
            f"| {WORKLOADS[name][0]} | {r['pages']} | {r['pages_s']:.2f} | {r['answers_s']:.1f} | {r['tokens']:.0f} | "
            f"{r['forced']:.0%} | {r['steps']} of {r['ms_a_step']:.1f} ms | {r['preempted']} |"
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
