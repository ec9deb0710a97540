"""The engine as the run uses it: from a weights folder on disk, through the `Engine` protocol."""

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.core.errors import ModelError
from pipeline.plugins import engines
from pipeline.schema.settings import load_settings
from tests.support import qwen_tiny as tiny

torch = tiny.torch

from models.qwen_vl import QwenVL  # noqa: E402
from models.qwen_vl.compute.memory_plan import GIB, Plan, too_small  # noqa: E402
from models.qwen_vl.weights.weights_folder import check, digest  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("weights") / "tiny", weights=True)


@pytest.fixture(scope="module")
def model(folder: Path) -> QwenVL:
    return QwenVL(folder, device=tiny.DEVICE)


def copy(folder: Path, to: Path) -> Path:
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).symlink_to(path)
    return to


def test_answers_from_a_folder(folder: Path, model: QwenVL) -> None:
    schema = {
        "type": "object",
        "properties": {"signed": {"type": "boolean"}},
        "required": ["signed"],
        "additionalProperties": False,
    }
    requests = [tiny.ask([tiny.page(i, 112, 84)], "Is it signed?", schema) for i in range(3)]
    replies = list(model.answer([requests[0], None, requests[1], requests[2]]))
    assert {id(r.request) for r in replies} == {id(r) for r in requests}
    for reply in replies:
        assert json.loads(reply.text)["signed"] in (True, False)
        assert 0 < reply.confidence["signed"] <= 1
        assert reply.finish == "stop"
        assert reply.seconds >= reply.first_token_s > 0
    told = model.provenance()
    assert told["engine"] == "qwen_vl"
    assert told["weights"] == digest(folder)
    assert told["attention"].startswith("attention: ")
    model.close()


def test_job_with_a_form_that_cannot_be_enforced_is_refused(model: QwenVL) -> None:
    class Field:
        def __init__(self, schema: dict[str, Any]) -> None:
            self.given = schema

        def answer_schema(self) -> dict[str, Any]:
            return self.given

    good: Any = SimpleNamespace(fields={"a": Field({"type": "string"})})
    bad: Any = SimpleNamespace(fields={"a": Field({"type": "array", "uniqueItems": True})})
    assert model.unsupported_reason(good) is None
    assert "cannot be enforced" in (model.unsupported_reason(bad) or "")


@pytest.mark.skipif(torch.cuda.is_available(), reason="here the tests' own engine has the GPU's memory")
def test_the_run_has_it_in_a_process_of_its_own_that_is_replaced_when_it_dies(folder: Path, tmp_path: Path) -> None:
    chosen, line = engines.load(load_settings(None, engine="qwen_vl", weights=folder, root=tmp_path))
    try:
        assert "as the config asks" in line
        assert chosen.provenance()["weights"] == digest(folder)
        first, count = chosen.pid, 0  # type: ignore[attr-defined]
        asked = [tiny.ask([tiny.page(i, 112, 84)], "Read.", most=4) for i in range(3)]
        for _ in chosen.answer(asked):
            if not count:
                os.kill(first, signal.SIGKILL)
            count += 1
        assert count == 3
        known = json.loads((tmp_path / ".answer_lengths.json").read_text("utf-8"))
        assert len(known["job"]) == 3, "the next run plans its memory by them"
    finally:
        chosen.close()
    with pytest.raises(ModelError, match="no such folder"):
        engines.load(load_settings(None, engine="qwen_vl", weights=tmp_path / "none"))


def test_plan_and_choices_are_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "scanmill")
    QwenVL(folder, device="cpu").close()
    told = caplog.text
    assert "attention: " in told
    assert "qwen_vl is ready: weights in " in told


def test_missing_folder_says_how_to_fetch(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        QwenVL(tmp_path / "no")
    words = str(caught.value)
    assert "no such folder" in words
    assert f"hf download Qwen/Qwen2.5-VL-7B-Instruct --local-dir {tmp_path / 'no'}" in words
    assert f"modelscope download --model Qwen/Qwen2.5-VL-7B-Instruct --local_dir {tmp_path / 'no'}" in words


@pytest.mark.parametrize(("name", "text", "words"), [
    ("tokenizer.json", None, "tokenizer.json is missing"),
    ("preprocessor_config.json", None, "preprocessor_config.json is missing"),
    ("config.json", "{", "config.json cannot be read"),
    ("config.json", '{"model_type": "llama"}', "'llama'"),
    ("model.safetensors", None, "model.safetensors (or model.safetensors.index.json"),
    ("model.safetensors", "short", "is cut off"),
    ("model.safetensors.index.json", '{"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}', "two.safe"),
])  # fmt: skip
def test_broken_folder_names_what_is_wrong(
    folder: Path, tmp_path: Path, name: str, text: str | None, words: str
) -> None:
    broken = copy(folder, tmp_path / "weights")
    (broken / name).unlink(missing_ok=True)
    if text is not None:
        (broken / name).write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be used") as caught:
        check(broken)
    assert words in str(caught.value)


def test_shard_without_its_end_is_found(folder: Path, tmp_path: Path) -> None:
    broken = copy(folder, tmp_path / "weights")
    whole = (folder / "model.safetensors").read_bytes()
    (broken / "model.safetensors").unlink()
    (broken / "model.safetensors").write_bytes(whole[:-1000])
    with pytest.raises(ModelError, match=f"{len(whole) - 1000:,} bytes where {len(whole):,} belong"):
        check(broken)


def test_digest_sees_other_weights(folder: Path, tmp_path: Path) -> None:
    other = copy(folder, tmp_path / "weights")
    assert digest(other) == digest(folder)
    changed = bytearray((folder / "model.safetensors").read_bytes())
    changed[-40_000] ^= 1
    (other / "model.safetensors").unlink()
    (other / "model.safetensors").write_bytes(changed)
    assert digest(other) != digest(folder)


def test_plan_and_refusal_name_the_numbers() -> None:
    plan = Plan(24.0, 15.5, 0.5, 0.1, 6.2, 116_000, 1024, 2560).words(1680)
    assert "24.0 GiB" in plan
    assert "116,000 tokens: about 69 pages" in plan
    words = str(too_small(12 * GIB, -3, 2048))
    assert "12.0 GiB" in words
    assert "low_resolution: true" in words
