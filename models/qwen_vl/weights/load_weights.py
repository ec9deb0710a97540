"""Loads the model and fuses its matrices."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.core.errors import ModelError

from .weights_folder import check


def load(folder: Path, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Load transformers' model from this folder to the device, without a network. Raises ModelError."""
    check(folder)
    from transformers import Qwen2_5_VLForConditionalGeneration

    # Without a device map the package accelerate is not needed.
    onto = {"device_map": {"": device}} if device.type != "cpu" else {}
    try:
        model: nn.Module = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            folder, local_files_only=True, dtype=dtype, **onto
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"The weights in {folder} cannot be loaded: {error}") from error
    return model.eval()


def set_aside(tower: nn.Module) -> None:
    """Move a tower to the CPU while its matrices are fused.

    Its many small tensors share blocks of GPU memory. Freeing some in place leaves holes that cannot be used (0.9 GiB
    for the 7B's vision encoder).
    """
    tower.to("cpu")
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def bring_back(tower: nn.Module, device: torch.device) -> None:
    """Move what is still on the CPU back. Views of fused matrices are on the device already."""
    for tensor in (*tower.parameters(), *tower.buffers()):
        if tensor.device != device:
            tensor.data = tensor.data.to(device)


def fuse(layers: list[nn.Linear], device: torch.device, step: int = 1) -> tuple[Tensor, Tensor | None]:
    """Fuse layers with the same input into one matrix and bias, each padded with zero rows to a multiple of `step`.

    The layers' own weights become views of it, so transformers' modules still work and nothing is stored twice.
    """
    sizes = [layer.out_features for layer in layers]
    padded = [-(-size // step) * step for size in sizes]
    with torch.no_grad():
        weight = layers[0].weight.new_zeros(sum(padded), layers[0].in_features, device=device)
        bias = weight.new_zeros(len(weight)) if layers[0].bias is not None else None
        at = 0
        for layer, size, room in zip(layers, sizes, padded, strict=True):
            weight[at : at + size].copy_(layer.weight)
            layer.weight.data = weight[at : at + size]
            if bias is not None:
                bias[at : at + size].copy_(layer.bias)
                layer.bias.data = bias[at : at + size]
            at += room
    return weight, bias


def widen(layer: nn.Linear, device: torch.device, step: int) -> Tensor:
    """Pad a layer's matrix with zero columns to a multiple of `step` inputs; its own weight becomes a view."""
    with torch.no_grad():
        weight = F.pad(layer.weight, (0, -layer.in_features % step)).to(device)
        layer.weight.data = weight[:, : layer.in_features]
    return weight
