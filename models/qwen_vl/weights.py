"""The weights folder: is it whole, what is its digest, and the loaded modules laid out for speed."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import ModelError

REPOSITORY = "Qwen/Qwen2.5-VL-7B-Instruct"
NEEDED = ("config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json")


def check(folder: Path) -> None:
    """Raises ModelError that says what the folder lacks and how to fetch it. Reads no tensor."""
    faults = list(_faults(folder))
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults)
        raise ModelError(
            f"The weights folder {folder} cannot be used:\n{listed}\n"
            "Fetch the weights on a machine with a network, with one of these two commands, and copy the folder here:\n"
            f"  hf download {REPOSITORY} --local-dir {folder}\n"
            f"  modelscope download --model {REPOSITORY} --local_dir {folder}"
        )


def _faults(folder: Path) -> list[str]:
    if not folder.is_dir():
        return ["there is no such folder"]
    faults = [f"{name} is missing" for name in NEEDED if not (folder / name).is_file()]
    config = read_json(folder / "config.json") if "config.json is missing" not in faults else None
    if isinstance(config, str):
        faults.append(config)
    elif config is not None and config.get("model_type") != "qwen2_5_vl":
        faults.append(f"config.json is of a model of the kind {config.get('model_type')!r}; qwen2_5_vl is needed")
    for name in (*NEEDED[1:], "model.safetensors.index.json"):
        if (folder / name).is_file() and isinstance(fault := read_json(folder / name), str):
            faults.append(fault)
    if not any(fault.startswith("model.safetensors.index.json") for fault in faults):
        names = shards(folder)
        if not names:
            faults.append("model.safetensors (or model.safetensors.index.json with its parts) is missing")
        faults += [fault for name in names if (fault := _shard_fault(folder / name))]
    return faults


def read_json(path: Path) -> dict[str, Any] | str:
    """The object in the file, or what is wrong with it."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return f"{path.name} cannot be read: {error}"
    return found if isinstance(found, dict) else f"{path.name} holds no JSON object"


def shards(folder: Path) -> list[str]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        found = read_json(index)
        return [] if isinstance(found, str) else sorted(set(found.get("weight_map", {}).values()))
    return ["model.safetensors"] if (folder / "model.safetensors").is_file() else []


def _shard_fault(path: Path) -> str:
    """A safetensors file says in its head where its last byte must lie."""
    if not path.is_file():
        return f"{path.name} is missing"
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            return f"{path.name} is cut off ({size:,} bytes)"
        try:
            head = json.loads(file.read(length))
            end = max((entry["data_offsets"][1] for name, entry in head.items() if name != "__metadata__"), default=0)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return f"{path.name} is no safetensors file"
    want = 8 + length + end
    return "" if size == want else f"{path.name} has {size:,} bytes where {want:,} belong"


def digest(folder: Path) -> str:
    """Names the weights in every record: SHA-256 over the small files, and each shard's name, size, head and samples.

    Samples are 64 KiB at 256 even places of each shard: seconds instead of minutes, and any other training shows in it.
    """
    total = hashlib.sha256()
    for name in sorted((*NEEDED, *shards(folder))):
        path = folder / name
        size = path.stat().st_size
        total.update(f"{name}:{size}\n".encode())
        with path.open("rb") as file:
            if size <= 1 << 24:
                total.update(file.read())
                continue
            for i in range(256):
                file.seek((size - 65536) * i // 255)
                total.update(file.read(65536))
    return total.hexdigest()


def load(folder: Path, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """transformers' model, straight onto the device, from this folder alone. Raises ModelError where it cannot."""
    check(folder)
    from transformers import Qwen2_5_VLForConditionalGeneration

    # A CPU needs no map of devices, and so not the package accelerate.
    onto = {"device_map": {"": device}} if device.type != "cpu" else {}
    try:
        model: nn.Module = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            folder, local_files_only=True, dtype=dtype, **onto
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"The weights in {folder} do not load: {error}") from error
    return model.eval()


def set_aside(tower: nn.Module) -> None:
    """Takes a tower off the card while its matrices are laid out anew. Its many small tensors share blocks of memory,
    and freeing some in place would leave holes that nothing else fits into (0.9 GiB for the 7B's vision tower)."""
    tower.to("cpu")
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def bring_back(tower: nn.Module, device: torch.device) -> None:
    """What is still off the card goes back. Views of fused matrices are there already."""
    for tensor in (*tower.parameters(), *tower.buffers()):
        if tensor.device != device:
            tensor.data = tensor.data.to(device)


def fuse(layers: list[nn.Linear], device: torch.device, step: int = 1) -> tuple[Tensor, Tensor | None]:
    """One matrix (and bias) for several layers that read the same input; each padded with zero rows to whole `step`s.

    The layers' own weights become views of it, so nothing is held twice and transformers' modules go on working.
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
    """The layer's matrix with zero columns up to whole `step`s of inputs; its own weight becomes a view."""
    with torch.no_grad():
        weight = F.pad(layer.weight, (0, -layer.in_features % step)).to(device)
        layer.weight.data = weight[:, : layer.in_features]
    return weight
