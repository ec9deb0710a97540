"""Checks the weights folder, computes its digest, and tells how to download it. Needs no torch."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pipeline.core.errors import ModelError

REPOSITORY = "Qwen/Qwen2.5-VL-7B-Instruct"
NEEDED = ("config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json")


def check(folder: Path) -> None:
    """Raises ModelError with all faults of the folder and how to download it. Reads no tensor."""
    if found := faults(folder):
        listed = "\n".join(f"  - {fault}" for fault in found)
        raise ModelError(f"The weights folder {folder} cannot be used:\n{listed}\n{how_to_fetch(folder)}")


def how_to_fetch(folder: Path) -> str:
    return (
        "Fetch the weights on a machine with a network, with one of these two commands, and copy the folder here:\n"
        f"  hf download {REPOSITORY} --local-dir {folder}\n"
        f"  modelscope download --model {REPOSITORY} --local_dir {folder}"
    )


def faults(folder: Path) -> list[str]:
    """The faults of the folder; empty if every file is complete."""
    if not folder.is_dir():
        return ["there is no such folder"]
    found = [f"{name} is missing" for name in NEEDED if not (folder / name).is_file()]
    config = read_json(folder / "config.json") if "config.json is missing" not in found else None
    if isinstance(config, str):
        found.append(config)
    elif config is not None and config.get("model_type") != "qwen2_5_vl":
        found.append(f"config.json is of a model of the kind {config.get('model_type')!r}; qwen2_5_vl is needed")
    for name in (*NEEDED[1:], "model.safetensors.index.json"):
        if (folder / name).is_file() and isinstance(fault := read_json(folder / name), str):
            found.append(fault)
    if not any(fault.startswith("model.safetensors.index.json") for fault in found):
        names = shards(folder)
        if not names:
            found.append("model.safetensors (or model.safetensors.index.json with its parts) is missing")
        found += [fault for name in names if (fault := _shard_fault(folder / name))]
    return found


def read_json(path: Path) -> dict[str, Any] | str:
    """The JSON object in the file, or the fault."""
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
    """The header of a safetensors file gives the size that the file must have."""
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
    """The digest of the weights for provenance: SHA-256 over the small files and samples of each shard.

    Samples are 64 KiB at 256 evenly spaced offsets: seconds instead of minutes, and other training changes the digest.
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
