"""Tokenizes requests with the chat template of the weights folder, split after the last image."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.qwen_vl.weights.weights_folder import read_json
from pipeline.core.errors import ModelError

PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"


class Prompts:
    """The tokenizer and chat template of the weights folder. Raises ModelError if they are not of Qwen2.5-VL."""

    def __init__(self, folder: Path) -> None:
        from transformers import PreTrainedTokenizerFast

        settings = read_json(folder / "tokenizer_config.json")
        self.json = (folder / "tokenizer.json").read_text(encoding="utf-8")
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
        self.template = _template(folder, settings if isinstance(settings, dict) else {})
        self.picture = self._id("<|image_pad|>")
        self.ends = {self._id("<|im_end|>"), self._id("<|endoftext|>")}
        self.end = self._id("<|im_end|>")
        self.parts = lru_cache(maxsize=512)(self._parts)
        self._lengths: dict[int, int] = {}

    def _id(self, word: str) -> int:
        found = self.tokenizer.convert_tokens_to_ids(word)
        if not isinstance(found, int):
            raise ModelError(
                f"The tokenizer in the weights folder has no token {word}: it is not the tokenizer of Qwen2.5-VL."
            )
        return found

    def _parts(
        self, system: str, pictures: int, question: str, earlier: tuple[tuple[str, str], ...] = ()
    ) -> tuple[list[int], list[int]]:
        """Ids up to the last image (one <|image_pad|> each), and the ids after it. Raises ValueError.

        The images belong to the first turn of a conversation, so later turns do not change the ids before them.
        """
        shown: list[dict[str, str]] = [{"type": "image"}] * pictures
        messages: list[dict[str, Any]] = []
        for asked, answered in (*earlier, (question, None)):
            messages.append({"role": "user", "content": [*shown, {"type": "text", "text": asked}]})
            shown = []
            if answered is not None:
                messages.append({"role": "assistant", "content": answered})
        if system:
            messages.insert(0, {"role": "system", "content": system})
        text = self.tokenizer.apply_chat_template(
            messages, chat_template=self.template, tokenize=False, add_generation_prompt=True
        )
        at = 0
        for _ in range(pictures):
            at = text.index(PICTURE, at) + len(PICTURE)
        before, after = (self.tokenizer(part, add_special_tokens=False)["input_ids"] for part in (text[:at], text[at:]))
        if before.count(self.picture) != pictures or self.picture in after:
            raise ValueError("the prompt contains the model's marker of an image, <|image_pad|>")
        return before, after

    def text(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def byte_ends(self, tokens: Sequence[int]) -> list[int]:
        """The end of each token in the UTF-8 text, in bytes. Byte-level BPE has one character for each byte."""
        for token in tokens:
            if token not in self._lengths:
                self._lengths[token] = len(self.tokenizer.convert_ids_to_tokens(token) or "")
        return np.cumsum([self._lengths[token] for token in tokens]).tolist()


def _template(folder: Path, settings: dict[str, Any]) -> str:
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    loose = read_json(folder / "chat_template.json") if (folder / "chat_template.json").is_file() else settings
    found = loose.get("chat_template") if isinstance(loose, dict) else None
    if not isinstance(found, str):
        raise ModelError(f"The weights folder {folder} has no chat template (chat_template.json or .jinja).")
    return found


def lay_out(
    ids: Sequence[int], picture: int, cells: Sequence[tuple[int, int]]
) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
    """Expand the image tokens of a prompt.

    ids: one `picture` for each image, of `cells` (high, wide). -> the `source` of Language.forward with image rows from
    0; positions [3, n] in time, height and width; and the next position.
    """
    source: list[NDArray[np.int32]] = []
    positions: list[NDArray[np.int32]] = []
    at = row = 0
    left = iter(cells)
    for token in ids:
        if token != picture:
            source.append(np.array([token], dtype=np.int32))
            positions.append(np.full((3, 1), at, dtype=np.int32))
            at += 1
            continue
        high, wide = next(left)
        source.append(-1 - np.arange(row, row + high * wide, dtype=np.int32))
        grid = np.stack(np.meshgrid([0], np.arange(high), np.arange(wide), indexing="ij")).reshape(3, -1)
        positions.append(grid.astype(np.int32) + at)
        at += max(high, wide)
        row += high * wide
    if not source:
        return np.zeros(0, np.int32), np.zeros((3, 0), np.int32), 0
    return np.concatenate(source), np.concatenate(positions, axis=1), at
