"""What the model is given equals what transformers' own processor, template and position ids give."""

import numpy as np
import pytest

from pipeline.engine import PageSpec
from tests.support import qwen_tiny as tiny

torch = tiny.torch

from models.qwen_vl import page_spec  # noqa: E402
from models.qwen_vl.compute.kernel_choice import choose, pick, probe_problem  # noqa: E402
from models.qwen_vl.compute.torch_ops import Plain  # noqa: E402
from models.qwen_vl.compute.vision_encoder import Vision  # noqa: E402
from models.qwen_vl.inputs.chat_template import Prompts, lay_out  # noqa: E402
from models.qwen_vl.inputs.image_processor import MEAN, STD, Unfit, layout, patches, prepare, tokens_of  # noqa: E402


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Prompts:
    return Prompts(tiny.folder(tmp_path_factory.mktemp("weights")))


@pytest.mark.parametrize("size", [(56, 56), (84, 140), (308, 56)])
def test_patches_are_the_image_processors(size: tuple[int, int]) -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    want = Qwen2VLImageProcessorPil()(images=[image], return_tensors="pt")
    got = patches(torch.from_numpy(image), torch.tensor(MEAN), torch.tensor(STD))
    assert want["image_grid_thw"].tolist() == [[1, size[0] // 14, size[1] // 14]]
    assert torch.allclose(got, want["pixel_values"], atol=2e-6)


@pytest.mark.parametrize("pictures", [0, 1, 3])
@pytest.mark.parametrize("system", ["", "You read scans.\nAnswer with one JSON object."])
def test_ids_are_the_chat_templates(prompts: Prompts, pictures: int, system: str) -> None:
    question = 'Read these values:\n- total (合计): «1.234,56 €» 🙂\n\nAnswer in this shape:\n{"total": null}'
    content = [*[{"type": "image"}] * pictures, {"type": "text", "text": question}]
    messages = [{"role": "system", "content": system}] * bool(system) + [{"role": "user", "content": content}]
    tokenizer = prompts.tokenizer
    want = tokenizer.apply_chat_template(
        messages, chat_template=tiny.TEMPLATE, tokenize=True, add_generation_prompt=True, return_dict=True
    )["input_ids"]
    before, after = prompts.parts(system, pictures, question)
    assert before + after == list(want)
    assert before.count(prompts.picture) == pictures


@pytest.mark.parametrize("pictures", [0, 2])
def test_a_conversation_is_the_chat_templates_and_changes_nothing_before_its_pictures(
    prompts: Prompts, pictures: int
) -> None:
    earlier = (("What is the pressure?", "1.2 MPa"), ("压力单位？", "MPa"))
    shown = [{"type": "image"}] * pictures
    messages = [
        {"role": "system", "content": "Look."},
        {"role": "user", "content": [*shown, {"type": "text", "text": earlier[0][0]}]},
        {"role": "assistant", "content": "1.2 MPa"},
        {"role": "user", "content": [{"type": "text", "text": earlier[1][0]}]},
        {"role": "assistant", "content": "MPa"},
        {"role": "user", "content": [{"type": "text", "text": "And in bar?"}]},
    ]
    want = prompts.tokenizer.apply_chat_template(
        messages, chat_template=tiny.TEMPLATE, tokenize=True, add_generation_prompt=True, return_dict=True
    )["input_ids"]
    before, after = prompts.parts("Look.", pictures, "And in bar?", earlier)
    assert before + after == list(want)
    assert before == prompts.parts("Look.", pictures, "What is the pressure?")[0]


def test_question_with_the_picture_marker_is_refused(prompts: Prompts) -> None:
    with pytest.raises(ValueError, match="marker"):
        prompts.parts("Read.", 1, "what is <|image_pad|>?")


def test_positions_are_the_references(prompts: Prompts) -> None:
    model = tiny.model()
    for seed, sizes in enumerate([[(56, 84)], [(140, 56), (56, 252)], [(84, 84), (56, 56), (308, 140)]]):
        pages = [tiny.page(seed * 10 + i, *size) for i, size in enumerate(sizes)]
        request = tiny.ask(pages, "Read the total.")
        given = tiny.inputs(request, prompts)
        want, _ = model.model.get_rope_index(
            given["input_ids"], given["mm_token_type_ids"], image_grid_thw=given["image_grid_thw"]
        )
        before, after = prompts.parts(request.system, len(pages), request.question)
        source, positions, following = lay_out(before, prompts.picture, [(h // 28, w // 28) for w, h in sizes])
        assert positions.tolist() == want[:, 0, : len(source)].tolist()
        assert list(range(following, following + len(after))) == want[0, 0, len(source) :].tolist()
        assert sorted(-1 - source[source < 0]) == list(range(sum(w * h for w, h in sizes) // 784))


def test_windows_are_the_references() -> None:
    from transformers.vision_utils import get_vision_position_ids, get_vision_window_index

    for high, wide in ((4, 4), (5, 9), (1, 13), (8, 3)):
        grid = torch.tensor([[1, high * 2, wide * 2]])
        order, starts = get_vision_window_index(grid, 2, 112, 14)
        mine = layout(high, wide, 4)
        assert mine.order.tolist() == order.tolist()
        assert np.concatenate([[0], np.cumsum(mine.windows)]).tolist() == starts.tolist()
        places = get_vision_position_ids(grid, 2).view(-1, 4, 2)[order].reshape(-1, 2)
        assert places.tolist() == np.stack([mine.rows, mine.columns], 1).tolist()


def test_vision_packed_equals_one_by_one() -> None:
    model = tiny.model()
    device = torch.device(tiny.DEVICE)
    dice = np.random.default_rng(0)
    images = [dice.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((112, 84), (56, 224), (140, 140))]
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    with torch.inference_mode():
        want = [
            model.model.get_image_features(
                patches(torch.from_numpy(i), mean, std).to(device),
                torch.tensor([[1, i.shape[0] // 14, i.shape[1] // 14]], device=device),
            ).pooler_output[0]
            for i in images
        ]
    tower = Vision(model.model.visual, pick(device, torch.float32, 16, 16)[0])
    sizes = [tokens_of(image) for image in images]
    starts = [100, 0, 50]
    out = torch.full((160, 64), torch.nan, device=device)
    slices = sum(1 for _ in tower.encode(images, starts, out, 1))
    assert slices == 4
    for start, size, one in zip(starts, sizes, want, strict=True):
        assert torch.allclose(out[start : start + size], one, atol=2e-5)
    assert int(out.isnan().any(1).sum()) == 160 - sum(sizes)  # nothing else was written


def test_pictures_are_made_fit() -> None:
    grey = prepare(np.full((56, 84), 7, np.uint8), page_spec())
    assert grey.shape == (56, 84, 3)
    assert (grey == 7).all()
    clear = np.zeros((56, 56, 4), np.uint8)
    clear[:28, :, 3] = 255
    paper = prepare(clear, page_spec())
    assert (paper[:28] == 0).all()
    assert (paper[28:] == 255).all()
    locked = np.zeros((56, 56, 3), np.uint8)
    locked.flags.writeable = False
    assert prepare(locked, page_spec()).flags.writeable
    for shape in ((1, 1, 3), (40, 800, 3), (3000, 2000, 3)):
        fitted = prepare(np.zeros(shape, np.uint8), page_spec())
        assert fitted.shape[0] % 28 == fitted.shape[1] % 28 == 0
        assert 4 <= tokens_of(fitted) <= 1280
    assert max(prepare(np.zeros((3000, 2000, 3), np.uint8), page_spec(low_resolution=True)).shape) <= 768
    with pytest.raises(Unfit, match="uint8"):
        prepare(np.zeros((56, 56, 3)), page_spec())
    assert isinstance(page_spec(), PageSpec)


def test_attention_falls_back_and_says_why() -> None:
    choice = choose(torch.device("cpu"), torch.bfloat16, (16,))
    assert choice.name == "sdpa"
    assert "bfloat16 on cpu" in choice.passed_over
    ops, line = pick(torch.device("cpu"), torch.float32, 16, 16)
    assert type(ops) is Plain
    assert line.startswith("attention: sdpa")


def test_plain_attention_equals_torch() -> None:
    q, k, v, ranges = probe_problem(torch.device("cpu"), torch.float32, 16)
    out, _ = choose(torch.device("cpu"), torch.float32, (16,)).varlen(q, k, v, ranges, True, 0.25)
    mask = torch.ones(5, 20, dtype=torch.bool).tril(15)
    keys, values = (x[40:60].repeat_interleave(2, 1).transpose(0, 1) for x in (k, v))
    want = torch.nn.functional.scaled_dot_product_attention(q[:5].transpose(0, 1), keys, values, mask, scale=0.25)
    assert torch.allclose(out[:5], want.transpose(0, 1), atol=1e-5)
