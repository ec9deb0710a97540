"""A page's pixels as the vision tower wants them: the numbers of transformers' image processor, made on the device."""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pipeline.engine import PageSpec

PATCH, MERGE, FRAMES = (
    14,
    2,
    2,
)  # pixels a patch side, patches a token side, and the frames that a still picture stands for
CELL = PATCH * MERGE
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's, as the processor's
MOST_LOPSIDED = 200  # the reference refuses pictures longer than this times their width


class Unfit(ValueError):
    """The picture cannot be shown to the model; the text says why."""


def prepare(image: NDArray[Any], page_spec: PageSpec) -> NDArray[np.uint8]:
    """RGB of a size the model takes: sides in whole cells of 28 px, within `wants`. Grey and alpha are put right.

    Raises Unfit.
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or 0 in image.shape:
        raise Unfit(f"a picture must be uint8 with height, width and colours; this one is {image.dtype} {image.shape}")
    if image.ndim == 2:
        image = image[:, :, None]
    if image.shape[2] in (2, 4):  # transparent means white paper
        alpha = image[:, :, -1:].astype(np.uint16)
        image = ((image[:, :, :-1] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    if image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    if image.shape[2] != 3:
        raise Unfit(f"a picture must have 1 to 4 colours; this one has {image.shape[2]}")
    high, wide = image.shape[:2]
    if max(high, wide) > MOST_LOPSIDED * min(high, wide):
        raise Unfit(f"the picture is too long and thin ({wide}×{high} px); the model takes up to {MOST_LOPSIDED}:1")
    fitted = page_spec.fit(wide, high)
    if fitted != (wide, high):
        return np.array(Image.fromarray(image).resize(fitted, Image.Resampling.BICUBIC))
    return np.require(image, requirements=["C", "W"])


def patches(image: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """uint8 [H, W, 3] -> float32 [H/14 · W/14, 1176], patches in groups of 2×2, in the image processor's order."""
    high, wide = image.shape[0] // CELL, image.shape[1] // CELL
    pixels = (image.float() - mean * 255) / (std * 255)
    cells = pixels.view(high, MERGE, PATCH, wide, MERGE, PATCH, 3).permute(0, 3, 1, 4, 6, 2, 5)
    return cells.unsqueeze(5).expand(-1, -1, -1, -1, -1, FRAMES, -1, -1).reshape(high * wide * MERGE**2, -1)


def tokens_of(image: NDArray[np.uint8]) -> int:
    """Visual tokens of a prepared picture."""
    return (image.shape[0] // CELL) * (image.shape[1] // CELL)


class Layout(NamedTuple):
    """How the tower reads a picture of some size: attention windows are made contiguous first."""

    order: NDArray[np.int32]  # [cells] which cell comes n-th
    rows: NDArray[np.int32]  # [patches] in that order
    columns: NDArray[np.int32]
    windows: NDArray[np.int32]  # lengths in patches


@lru_cache(maxsize=64)
def layout(high: int, wide: int, window: int) -> Layout:
    """For a picture of `high` × `wide` cells and windows of `window` × `window` cells."""
    index = np.arange(high * wide, dtype=np.int32).reshape(high, wide)
    blocks = [
        index[top : top + window, left : left + window].ravel()
        for top in range(0, high, window)
        for left in range(0, wide, window)
    ]
    order = np.concatenate(blocks)
    inside = np.arange(MERGE, dtype=np.int32)
    rows = ((order // wide)[:, None, None] * MERGE + inside[:, None]).repeat(MERGE, 2).ravel()
    columns = ((order % wide)[:, None, None] * MERGE + inside[None, None, :]).repeat(MERGE, 1).ravel()
    return Layout(order, rows, columns, np.array([len(block) * MERGE**2 for block in blocks], dtype=np.int32))


def to_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """Through pinned memory, so that the copy waits in the stream and not in this thread."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
