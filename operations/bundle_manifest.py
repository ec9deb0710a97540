"""What lies in a bundle: every file with its size and SHA-256, and the machine that it was made for.

Needs no package: this runs on the other side, before anything is installed.
"""

import hashlib
import json
import platform
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.core.errors import ScanmillError
from pipeline.system.filesystem import sha256_of

NAME = "manifest.json"

Progress = Callable[[int], None]  # bytes that were just done


class BundleError(ScanmillError):
    """A bundle cannot be made or used: says what is wrong, and what to do."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What wheels depend on. `python` is "3.11", `platform` as sysconfig says it ("linux-x86_64"), `libc` "glibc"."""

    python: str
    platform: str
    libc: str

    @staticmethod
    def here() -> "Machine":
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return Machine(version, sysconfig.get_platform(), platform.libc_ver()[0])

    def faults(self, made_for: "Machine") -> list[str]:
        """Why what was made for another machine cannot be installed here."""
        found = []
        if self.python != made_for.python:
            found.append(f"it was made for Python {made_for.python}, and this is {self.python}")
        if self.platform != made_for.platform:
            found.append(f"it was made for {made_for.platform}, and this is {self.platform}")
        if self.libc != made_for.libc:
            found.append(f"it was made for {made_for.libc or 'no glibc'}, and this machine has {self.libc or 'none'}")
        return found


@dataclass(frozen=True, slots=True)
class Manifest:
    """`files` maps a path below the bundle, with forward slashes, to its (bytes, SHA-256)."""

    version: str
    made_at: str
    machine: Machine
    extras: tuple[str, ...]
    packages: dict[str, str]
    weights: str | None
    files: dict[str, tuple[int, str]]

    @staticmethod
    def read(path: Path) -> "Manifest":
        """Raises BundleError."""
        try:
            told: dict[str, Any] = json.loads(path.read_text("utf-8"))
            return Manifest(
                told["version"],
                told["made_at"],
                Machine(**told["machine"]),
                tuple(told["extras"]),
                dict(told["packages"]),
                told["weights"],
                {path: (int(each["bytes"]), str(each["sha256"])) for path, each in told["files"].items()},
            )
        except FileNotFoundError:
            raise BundleError(f"There is no {path}; is this a bundle, and was all of it copied?") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BundleError(f"{path} cannot be read ({error}); copy the bundle again") from None

    def write(self, bundle: Path) -> str:
        """Writes it and returns its own SHA-256, which a person can compare on the other side."""
        told = {"scanmill": 1, "kind": "bundle", **asdict(self)}
        told["files"] = {path: {"bytes": size, "sha256": sha256} for path, (size, sha256) in self.files.items()}
        data = json.dumps(told, ensure_ascii=False, indent=1).encode() + b"\n"
        (bundle / NAME).write_bytes(data)
        return hashlib.sha256(data).hexdigest()

    @property
    def bytes(self) -> int:
        return sum(size for size, _ in self.files.values())

    def faults(self, bundle: Path, progress: Progress = lambda done: None) -> Iterator[str]:
        """What is missing, cut off or changed, a sentence each. Reads every byte; what else lies there is no fault."""
        for path, (size, sha256) in self.files.items():
            place = bundle / path
            try:
                there = place.stat().st_size if place.is_file() and not place.is_symlink() else None
                if there is None:
                    yield f"{path} is missing"
                elif there != size:
                    yield f"{path} has {there:,} bytes where {size:,} belong"
                elif sha256_of(place, progress) != sha256:
                    yield f"{path} has other bytes than it was made with"
            except OSError as error:
                yield f"{path} cannot be read ({error.strerror})"
