"""What the watch over the GPU engine costs, and how soon it is back after a death: one command, about five minutes.

    python benchmarks/gpu_supervised.py --vram-gib 24       # the table; --json for machines; --tiny tries it on a CPU

The 7B at true size with random weights (as benchmarks/gpu.py), once in this command's own process and once in a process
of its own under the supervisor, over the same pages; then its process is killed, and stopped, in the middle of a run.
"""

# ruff: noqa: E402  the project and its tiny test model are put on the path first
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

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests"), str(Path(__file__).parent)]
import gpu_work
import torch
from gpu_files import Told

from models.qwen_vl import build, page_spec
from models.qwen_vl.compute import memory_plan
from models.qwen_vl.inputs.chat_template import Prompts
from models.supervision.supervisor import SupervisedEngine
from pipeline.engine import Request
from tests.support import qwen_tiny

ROUNDS = 3  # the middle one counts


def make(tiny: bool, vram_gib: float, pulse: Callable[[], None]) -> Told:
    """The engine, in the process that answers."""
    budget = 0 if tiny else memory_plan.budget_bytes(torch.device("cuda"), vram_gib)
    model = qwen_tiny.model() if tiny else gpu_work.true_size()
    prompts = Prompts(qwen_tiny.folder(Path(tempfile.mkdtemp())))
    small: dict[str, Any] = {"step_tokens": 96, "answers": 8, "vision_tokens": 64, "kv_tokens": 6000} if tiny else {}
    engine, _ = build.build(model, prompts, page_spec(), budget, gpu_work.say, ends=(), **small)
    list(engine.answer(requests(tiny, 4, 50)))  # what is compiled at the first use belongs to the start
    engine.pulse = pulse
    return Told(engine)


def requests(tiny: bool, pages: int, round: int) -> list[Request]:
    """Each round has pages of its own: those of earlier ones the engine knows already."""
    if tiny:
        return [
            qwen_tiny.ask([qwen_tiny.page(round * pages + i, 112, 56)], gpu_work.SHORT, most=8) for i in range(pages)
        ]
    shown = islice(gpu_work.pictures((round + 1) * pages), round * pages, None)
    return [qwen_tiny.ask([page], gpu_work.LONG, gpu_work.SCHEMA, most=400, system="") for page in shown]


def paces(model: Any, tiny: bool, pages: int) -> dict[str, Any]:
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
    """One round in which the engine's process gets a signal once a third of the answers is there."""
    began = time.perf_counter()
    first, hurt, back, count = model.pid, 0.0, 0.0, 0
    assert first
    for reply in model.answer(iter(requests(tiny, pages, round))):
        assert reply.finish != "error", reply.error
        count += 1
        if not hurt and count >= pages // 3:
            os.kill(first, sign)
            hurt = time.perf_counter()
        elif hurt and not back and model.pid != first:
            back = time.perf_counter()
    assert count == pages, f"{count} of {pages} answers"
    assert model.pid != first, "it was not started again"
    return {"answers": count, "seconds": time.perf_counter() - began, "until_next_reply_s": back - hurt}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--vram-gib", type=float, default=24.0)
    parser.add_argument("--pages", type=int, default=60)
    parser.add_argument(
        "--step-s", type=float, default=5.0, help="engine_step_s: the time after which a stop is noticed"
    )
    parser.add_argument("--tiny", action="store_true", help="the tiny test model on a CPU: tries the plumbing only")
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)  # this command, in its own process
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.bare:
        began = time.perf_counter()
        engine = make(given.tiny, given.vram_gib, lambda: None)
        start_s = time.perf_counter() - began
        print(json.dumps({"start_s": start_s, **paces(engine, given.tiny, given.pages)}))
        return
    command = [sys.executable, __file__, "--bare", "--pages", str(given.pages), "--vram-gib", str(given.vram_gib)]
    done = subprocess.run([*command, *["--tiny"] * given.tiny], stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "torch": torch.__version__, "pages": given.pages}
    result["card"] = "CPU, tiny model" if given.tiny else subprocess.run(
        ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, check=False
    ).stdout.strip()  # fmt: skip
    result["bare"] = json.loads(done.stdout.splitlines()[-1])
    gpu_work.say("bare", result["bare"])
    step_s = 30.0 if given.tiny else given.step_s  # a busy CPU takes its time
    from gpu_supervised import make as known_by_name  # in the fresh process this file is not `__main__`

    began = time.perf_counter()
    model = SupervisedEngine(partial(known_by_name, given.tiny, given.vram_gib), step_s=step_s)
    try:
        start_s = time.perf_counter() - began
        result["supervised"] = {"start_s": start_s, **paces(model, given.tiny, given.pages)}
        gpu_work.say("supervised", result["supervised"])
        result["ratio"] = result["supervised"]["pages_s"] / result["bare"]["pages_s"]
        for round, sign in enumerate((signal.SIGKILL, signal.SIGSTOP), ROUNDS + 1):
            result[sign.name] = interrupted(model, sign, given.tiny, given.pages, round)
            gpu_work.say(sign.name, result[sign.name])
    finally:
        model.close()
    print(json.dumps(result) if given.json else table(result, step_s))


def table(result: dict[str, Any], step_s: float) -> str:
    bare, watched = result["bare"], result["supervised"]
    notice = f" (of which {step_s:g} s to notice)"
    return "\n".join([
        f"{result['date']}, {result['card']}, torch {result['torch']}, {result['pages']} pages a round, 12 fields",
        "",
        "| engine | pages/s | ready after |",
        "|---|---|---|",
        f"| in the same process | {bare['pages_s']:.2f} | {bare['start_s']:.1f} s |",
        f"| under the supervisor | {watched['pages_s']:.2f} ({result['ratio']:.1%}) | {watched['start_s']:.1f} s |",
        "",
        *(f"{name} in mid-run: {found['answers']} of {result['pages']} answers, none wrong; the next answer after "
          f"{found['until_next_reply_s']:.1f} s{notice * (name == 'SIGSTOP')}; "
          f"the round took {found['seconds']:.1f} s"
          for name, found in result.items() if name.startswith("SIG")),
    ])  # fmt: skip


if __name__ == "__main__":
    main()
