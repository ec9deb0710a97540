"""The manifest of a bundle: every file with its size and SHA-256, and the machine that it is for.

Needs only the standard library: it runs on the target machine before anything is installed.
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

Progress = Callable[[int], None]  # called with the number of bytes just read


class BundleError(ScanmillError):
    """A bundle cannot be built or used. The text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What wheels depend on: `python` ("3.11"), `platform` of sysconfig ("linux-x86_64"), `libc` ("glibc")."""

    python: str
    platform: str
    libc: str

    @staticmethod
    def here() -> "Machine":
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return Machine(version, sysconfig.get_platform(), platform.libc_ver()[0])

    def faults(self, made_for: "Machine") -> list[str]:
        """Why a bundle for the machine `made_for` cannot be installed on this one."""
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
            manifest: dict[str, Any] = json.loads(path.read_text("utf-8"))
            return Manifest(
                manifest["version"],
                manifest["made_at"],
                Machine(**manifest["machine"]),
                tuple(manifest["extras"]),
                dict(manifest["packages"]),
                manifest["weights"],
                {path: (int(each["bytes"]), str(each["sha256"])) for path, each in manifest["files"].items()},
            )
        except FileNotFoundError:
            raise BundleError(f"There is no {path}; is this a bundle, and was all of it copied?") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BundleError(f"{path} cannot be read ({error}); copy the bundle again") from None

    def write(self, bundle: Path) -> str:
        """Writes the manifest and returns its SHA-256, to be compared on the target machine."""
        manifest = {"scanmill": 1, "kind": "bundle", **asdict(self)}
        manifest["files"] = {path: {"bytes": size, "sha256": sha256} for path, (size, sha256) in self.files.items()}
        data = json.dumps(manifest, ensure_ascii=False, indent=1).encode() + b"\n"
        (bundle / NAME).write_bytes(data)
        return hashlib.sha256(data).hexdigest()

    @property
    def bytes(self) -> int:
        return sum(size for size, _ in self.files.values())

    def faults(self, bundle: Path, progress: Progress = lambda done: None) -> Iterator[str]:
        """Missing, truncated and changed files, one sentence each. Reads every file; additional files are ignored."""
        for path, (size, sha256) in self.files.items():
            file = bundle / path
            try:
                found = file.stat().st_size if file.is_file() and not file.is_symlink() else None
                if found is None:
                    yield f"{path} is missing"
                elif found != size:
                    yield f"{path} has {found:,} bytes instead of {size:,}"
                elif sha256_of(file, progress) != sha256:
                    yield f"{path} has changed contents"
            except OSError as error:
                yield f"{path} cannot be read ({error.strerror})"
