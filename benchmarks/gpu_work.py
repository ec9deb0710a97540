"""What the GPU benchmarks work on: the 7B at true size with random weights, drawn pages, three kinds of question."""

# ruff: noqa: E402  the project and its tiny test model are put on the path first
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests")]
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


def say(*words: Any) -> None:
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
    """The 7B with random weights, on the GPU, in bfloat16."""
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
    base = np.random.default_rng(0).integers(0, 256, (HIGH, WIDE, 3), dtype=np.uint8)
    for i in range(count):
        yield qwen_tiny.shown(np.roll(base, 97 * i + 1, axis=1) ^ np.uint8(i % 251))


def free_requests(pages: int, tokens: int = 200) -> list[Request]:
    return [qwen_tiny.ask([page], LONG, most=tokens, system="") for page in pictures(pages)]


def mixed_requests(pages: int, short: int = 200, long: int = 800) -> list[Request]:
    """One answer in ten is long."""
    return [
        qwen_tiny.ask([page], LONG, most=long if i % 10 == 9 else short, system="")
        for i, page in enumerate(pictures(pages))
    ]


def json_requests(pages: int) -> list[Request]:
    return [qwen_tiny.ask([page], LONG, SCHEMA, most=400, system="") for page in pictures(pages)]


def question_requests(pages: int, questions: int = 4, tokens: int = 50) -> list[Request]:
    asks = [
        f"{SHORT} ({'abcdefgh'[i]}), please, with all of its parts in the order of the page." for i in range(questions)
    ]
    return [qwen_tiny.ask([page], ask, most=tokens, system="") for page in pictures(pages) for ask in asks]
