"""Measure the GPU engine: Qwen2.5-VL-7B at its true size with random weights, on one card.

    python benchmarks/gpu.py engine --vram-gib 24 --from-files --agreement   # throughput, stages, first token, memory
    python benchmarks/gpu.py engine --no-baseline --only 300,600             # some of the workloads
    python benchmarks/gpu.py supervised --vram-gib 24                        # the cost of supervision; about 5 minutes

`engine` runs each workload (see WORKLOADS in gpu_support.py) from a cold cache to the last reply. `supervised` runs the
engine once in this command's process and once under the supervisor, over the same pages; then it kills the engine's
process with SIGKILL, and stops it with SIGSTOP, in the middle of a run, and measures the time to the next reply.
Both print a Markdown table, or with `--json` one line. They need the extras `gpu` and `test-gpu` (the true tokenizer).
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import gpu_support  # puts the project on the path
import torch
from gpu_support import WORKLOADS, log

from models.qwen_vl import build, page_spec
from models.qwen_vl.compute import memory_plan
from models.qwen_vl.inputs.chat_template import Prompts
from models.supervision.supervisor import SupervisedEngine
from pipeline.engine import Request
from tests.support import qwen_tiny

ROUNDS = 3  # of `supervised`, after one that warms up; the median counts


# ---- engine
def engine(given: argparse.Namespace) -> dict[str, Any]:
    """Every figure of the `engine` command."""
    result: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"), "card": torch.cuda.get_device_name(), "torch": torch.__version__,
        "vram_gib": given.vram_gib, "ceilings": gpu_support.ceilings(),
    }  # fmt: skip
    log(result)
    budget = memory_plan.budget_bytes(torch.device("cuda"), given.vram_gib)
    model = gpu_support.true_size()
    prompts = Prompts(qwen_tiny.folder(Path(tempfile.mkdtemp())))
    if given.baseline:
        result["generate"] = gpu_support.plain_generate(model, prompts)
        log("generate", result["generate"])
    torch.cuda.empty_cache()
    began = time.perf_counter()
    made, result["attention"] = build.build(
        model, prompts, page_spec(), budget, log, step_tokens=given.step_tokens, answers=given.answers,
        vision_tokens=given.vision_tokens, ends=(),
    )  # fmt: skip
    torch.cuda.synchronize()
    result["start_s"] = time.perf_counter() - began
    log(f"start {result['start_s']:.1f} s")
    gpu_support.drain(made, gpu_support.free_requests(8, 20))
    torch.cuda.reset_peak_memory_stats()
    result["stages"] = gpu_support.stages(made, result["ceilings"])
    log(result["stages"])
    result["workloads"] = {}
    for name in given.only.split(",") if given.only else WORKLOADS:
        title, make = WORKLOADS[name]
        result["workloads"][name] = gpu_support.drain(made, make(given.pages))
        log(title, result["workloads"][name])
    result["first_token"] = gpu_support.first_tokens(made)
    result["peak_gib"] = torch.cuda.max_memory_reserved() / memory_plan.GIB + memory_plan.CONTEXT_GIB
    log(result["first_token"], "peak", result["peak_gib"])
    made.reset()
    requests = gpu_support.free_requests(120)
    _, result["busy"] = gpu_support.busy(lambda: list(made.answer(iter(requests))), given.profile)
    log(f"device busy {result['busy']:.1%}")
    if given.from_files:
        result["from_files"] = gpu_support.from_files(made, given.pages)
        log("from files", result["from_files"])
    if given.agreement:
        torch.cuda.set_per_process_memory_fraction(1.0)  # a batch of `generate` does not fit beside the engine
        result["agreement"] = gpu_support.agreement(model, made, prompts)
        log(result["agreement"])
    return result


def engine_table(result: dict[str, Any]) -> str:
    """The figures of `engine` as Markdown."""
    most, stage, first = result["ceilings"], result["stages"], result["first_token"]
    lines = [
        f"{result['date']}, {result['card']} held to {result['vram_gib']:g} GiB, torch {result['torch']}; on this card "
        f"a large matrix product runs at {most['matmul_tflops']:.0f} TFLOP/s, a copy at {most['copy_tb_s']:.2f} TB/s",
        "",
        "| workload | pages | pages/s | answers/s | tokens an answer | forced | steps | preempted |",
        "|---|---|---|---|---|---|---|---|",
    ]
    if r := result.get("generate"):
        lines.append(f"| plain `generate` ({r['attention']}), 200 tokens | | {r['pages_s']:.2f} | | 200 | | | |")
    for name, r in result["workloads"].items():
        lines.append(
            f"| {WORKLOADS[name][0]} | {r['pages']} | {r['pages_s']:.2f} | {r['answers_s']:.1f} | {r['tokens']:.0f} | "
            f"{r['forced']:.0%} | {r['steps']} of {r['ms_a_step']:.1f} ms | {r['preempted']} |"
        )
    lines += ["", "| stage | ms | floor ms | share of the floor |", "|---|---|---|---|"]
    titles = {
        "vision": "vision, a page (of two)",
        "prefill": "prefill, a page of 1,490 tokens",
        "decode": f"decode step, {stage['decode_sequences']} sequences",
    }
    for name, title in titles.items():
        ms, floor = stage[f"{name}_ms"], stage[f"{name}_floor_ms"]
        lines.append(f"| {title} | {ms:.1f} | {floor:.1f} | {stage[f'{name}_share']:.0%} |")
    lines += [
        "",
        f"Peak {result['peak_gib']:.1f} GiB · start {result['start_s']:.0f} s without weights · first token "
        f"{1000 * first['first_s']:.0f} ms, of a follow-up question {1000 * first['follow_up_s']:.1f} ms · device "
        f"busy {result['busy']:.0%} of a run of 120 pages, filling and draining included · {result['attention']}",
    ]
    if r := result.get("from_files"):
        lines += [
            "",
            f"From JPEG files (A4, 200 dpi) through the whole pipeline: {r['pages_s']:.2f} pages/s; the engine alone "
            f"on the same questions {r['alone_pages_s']:.2f} ({r['tokens']:.0f} tokens an answer); device busy "
            f"{r['busy']:.0%}",
        ]
    if r := result.get("agreement"):
        lines += [
            "",
            f"Of {r['of']} tokens in bfloat16, {r['engine_tokens']:.1f} agree with `generate` before the first "
            f"difference; `generate` in a batch of 4 agrees with itself for {r['generate_batched_tokens']:.1f}",
        ]
    return "\n".join(lines)


# ---- supervised
def supervised(given: argparse.Namespace) -> dict[str, Any]:
    """Every figure of the `supervised` command."""
    command = [sys.executable, __file__, "supervised", "--bare", "--pages", str(given.pages)]
    command += ["--vram-gib", str(given.vram_gib), *["--tiny"] * given.tiny]
    bare = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # its memory is free again afterwards
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    result: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "torch": torch.__version__,
        "pages": given.pages,
        "card": "CPU, tiny model" if given.tiny else subprocess.check_output(query, text=True).strip(),
        "step_s": 30.0 if given.tiny else given.step_s,  # a busy CPU is slow
        "bare": json.loads(bare.stdout.splitlines()[-1]),
    }
    log("bare", result["bare"])
    from gpu import start  # the fresh process cannot import `__main__`

    began = time.perf_counter()
    model = SupervisedEngine(partial(start, given.tiny, given.vram_gib), step_s=result["step_s"])
    try:
        start_s = time.perf_counter() - began
        result["supervised"] = {"start_s": start_s, **throughput(model, given.tiny, given.pages)}
        log("supervised", result["supervised"])
        result["ratio"] = result["supervised"]["pages_s"] / result["bare"]["pages_s"]
        for round, sign in enumerate((signal.SIGKILL, signal.SIGSTOP), ROUNDS + 1):
            result[sign.name] = interrupted(model, sign, given.tiny, given.pages, round)
            log(sign.name, result[sign.name])
    finally:
        model.close()
    return result


def bare(given: argparse.Namespace) -> dict[str, Any]:
    """The engine in this process, without supervision."""
    began = time.perf_counter()
    made = start(given.tiny, given.vram_gib, lambda: None)
    return {"start_s": time.perf_counter() - began, **throughput(made, given.tiny, given.pages)}


def start(tiny: bool, vram_gib: float, pulse: Callable[[], None]) -> gpu_support.BenchmarkEngine:
    """An engine that is ready and warm, in the process that calls."""
    budget = 0 if tiny else memory_plan.budget_bytes(torch.device("cuda"), vram_gib)
    model = qwen_tiny.model() if tiny else gpu_support.true_size()
    prompts = Prompts(qwen_tiny.folder(Path(tempfile.mkdtemp())))
    small: dict[str, Any] = {"step_tokens": 96, "answers": 8, "vision_tokens": 64, "kv_tokens": 6000} if tiny else {}
    made, _ = build.build(model, prompts, page_spec(), budget, log, ends=(), **small)
    list(made.answer(requests(tiny, 4, 50)))  # kernels that are compiled at their first use count as start
    made.pulse = pulse
    return gpu_support.BenchmarkEngine(made)


def requests(tiny: bool, pages: int, round: int) -> list[Request]:
    """Each round has its own pages, because the engine caches those of earlier rounds."""
    if tiny:
        shown = [qwen_tiny.page(round * pages + i, 112, 56) for i in range(pages)]
        return [qwen_tiny.ask([page], gpu_support.SHORT, most=8) for page in shown]
    drawn = islice(gpu_support.pictures((round + 1) * pages), round * pages, None)
    return [qwen_tiny.ask([page], gpu_support.LONG, gpu_support.SCHEMA, most=400, system="") for page in drawn]


def throughput(model: Any, tiny: bool, pages: int) -> dict[str, Any]:
    """Pages a second, round after round; the first warms up."""
    rates = []
    for round in range(ROUNDS + 1):
        asked = requests(tiny, pages, round)
        began = time.perf_counter()
        replies = list(model.answer(iter(asked)))
        rates.append(pages / (time.perf_counter() - began))
        wrong = [reply.error for reply in replies if reply.finish == "error"]
        assert len(replies) == pages, f"{len(replies)} of {pages} answers"
        assert not wrong, wrong
    return {"pages_s": sorted(rates[1:])[ROUNDS // 2], "rounds": [float(f"{rate:.3f}") for rate in rates]}


def interrupted(model: SupervisedEngine, sign: signal.Signals, tiny: bool, pages: int, round: int) -> dict[str, Any]:
    """One round in which the engine's process gets a signal after a third of the answers."""
    began = time.perf_counter()
    first, sent, back, count = model.pid, 0.0, 0.0, 0
    assert first
    for reply in model.answer(iter(requests(tiny, pages, round))):
        assert reply.finish != "error", reply.error
        count += 1
        if not sent and count >= pages // 3:
            os.kill(first, sign)
            sent = time.perf_counter()
        elif sent and not back and model.pid != first:
            back = time.perf_counter()
    assert count == pages, f"{count} of {pages} answers"
    assert model.pid != first, "the engine was not started again"
    return {"answers": count, "seconds": time.perf_counter() - began, "until_next_reply_s": back - sent}


def supervised_table(result: dict[str, Any]) -> str:
    """The figures of `supervised` as Markdown."""
    alone, watched = result["bare"], result["supervised"]
    notice = f" (of which {result['step_s']:g} s to notice)"
    return "\n".join([
        f"{result['date']}, {result['card']}, torch {result['torch']}, {result['pages']} pages a round, 12 fields",
        "",
        "| engine | pages/s | ready after |",
        "|---|---|---|",
        f"| in the same process | {alone['pages_s']:.2f} | {alone['start_s']:.1f} s |",
        f"| under the supervisor | {watched['pages_s']:.2f} ({result['ratio']:.1%}) | {watched['start_s']:.1f} s |",
        "",
        *(f"{name} in mid-run: {found['answers']} of {result['pages']} answers, none wrong; the next answer after "
          f"{found['until_next_reply_s']:.1f} s{notice * (name == 'SIGSTOP')}; "
          f"the round took {found['seconds']:.1f} s"
          for name, found in result.items() if name.startswith("SIG")),
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("engine", help="throughput, stages, first token and memory of the engine")
    one.add_argument("--pages", type=int, default=240)
    one.add_argument("--step-tokens", type=int, default=build.STEP_TOKENS)
    one.add_argument("--vision-tokens", type=int, default=build.VISION_TOKENS)
    one.add_argument("--answers", type=int, default=build.ANSWERS)
    one.add_argument("--no-baseline", dest="baseline", action="store_false", help="skip transformers' own generate")
    one.add_argument("--only", default="", help=f"some workloads, separated by commas: {', '.join(WORKLOADS)}")
    one.add_argument("--agreement", action="store_true", help="compare bfloat16 answers with those of generate")
    one.add_argument("--from-files", action="store_true", help="also run the whole pipeline over JPEG files")
    one.add_argument("--profile", action="store_true", help="print the kernels")
    two = commands.add_parser("supervised", help="the cost of supervision, and the time to recover")
    two.add_argument("--pages", type=int, default=60)
    two.add_argument("--step-s", type=float, default=5.0, help="the engine counts as hung after this many seconds")
    two.add_argument("--tiny", action="store_true", help="the tiny test model on a CPU, to try the command")
    two.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)  # only the engine in this process
    for each in (one, two):
        each.add_argument("--vram-gib", type=float, default=24.0)
        each.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.command == "engine":
        result, table = engine(given), engine_table
    elif given.bare:
        print(json.dumps(bare(given)))
        return
    else:
        result, table = supervised(given), supervised_table
    print(json.dumps(result) if given.json else table(result))


if __name__ == "__main__":
    main()
