"""Prepares page images for the vision encoder; equals transformers' image processor, but runs on the device."""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pipeline.engine import PageSpec

# Pixels of a patch's side, patches of a token's side, and frames of a still image.
PATCH, MERGE, FRAMES = 14, 2, 2
CELL = PATCH * MERGE
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of CLIP
MAX_ASPECT = 200  # the reference refuses images with a larger ratio of the sides


class Unfit(ValueError):
    """The image cannot be given to the model; the text is the reason."""


def prepare(image: NDArray[Any], page_spec: PageSpec) -> NDArray[np.uint8]:
    """Convert to RGB with sides in multiples of 28 px, within `page_spec`. Accepts grey and alpha.

    Raises Unfit.
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or 0 in image.shape:
        raise Unfit(f"an image must be uint8 [height, width, channels]; this one is {image.dtype} {image.shape}")
    if image.ndim == 2:
        image = image[:, :, None]
    if image.shape[2] in (2, 4):  # transparent becomes white
        alpha = image[:, :, -1:].astype(np.uint16)
        image = ((image[:, :, :-1] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    if image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    if image.shape[2] != 3:
        raise Unfit(f"an image must have 1 to 4 channels; this one has {image.shape[2]}")
    high, wide = image.shape[:2]
    if max(high, wide) > MAX_ASPECT * min(high, wide):
        raise Unfit(f"the image is too long and thin ({wide}×{high} px); the model accepts up to {MAX_ASPECT}:1")
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
    """Visual tokens of a prepared image."""
    return (image.shape[0] // CELL) * (image.shape[1] // CELL)


class Layout(NamedTuple):
    """The order of an image's cells in the vision encoder, with each attention window contiguous."""

    order: NDArray[np.int32]  # [cells] the n-th cell
    rows: NDArray[np.int32]  # [patches] in that order
    columns: NDArray[np.int32]
    windows: NDArray[np.int32]  # lengths in patches


@lru_cache(maxsize=64)
def layout(high: int, wide: int, window: int) -> Layout:
    """For an image of `high` × `wide` cells and windows of `window` × `window` cells."""
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
    """Copy through pinned memory, so that the copy is asynchronous."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
