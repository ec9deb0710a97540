"""Install a bundle without a network: verify, copy, create .venv, install by hash. Called by install.sh.

Needs only the standard library. An earlier installation in the same folder is updated; documents, results and changed
files are kept.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from operations.bundle_manifest import NAME, BundleError, Machine, Manifest
from pipeline.core.errors import CANNOT_RUN
from pipeline.system.filesystem import sha256_of

PROJECT, WHEELS, WEIGHTS, LOCK = "scanmill", "wheels", "weights", "requirements.lock"  # contents of a bundle
KEPT = ".bundle.json"  # manifest of the installed version: shows which files were changed since
PIP_OPTIONS = ["--isolated", "--disable-pip-version-check", "--no-index", "--no-cache-dir", "--progress-bar", "off"]


def install(bundle: Path, target: Path) -> None:
    """Raises BundleError, and OSError or CalledProcessError if a step fails. Can be repeated."""
    manifest = Manifest.read(bundle / NAME)
    if faults := Machine.here().faults(manifest.machine):
        raise BundleError("This bundle is for another machine: " + "; ".join(faults) + ".")
    say(f"verifying {len(manifest.files)} files, {manifest.bytes / 1e6:,.0f} MB")
    if faults := list(manifest.faults(bundle)):
        listed = "\n".join(f"  - {fault}" for fault in faults)
        raise BundleError(f"The bundle is damaged:\n{listed}\nCopy it again.")
    say(f"all files are intact; SHA-256 of {NAME}: {sha256_of(bundle / NAME)}")
    before = _earlier(bundle, target)
    kept = copy(bundle, target, manifest, before)
    say("creating .venv and installing the packages from the bundle")
    _environment(bundle, target)
    shutil.copyfile(bundle / NAME, target / KEPT)
    for path in kept:
        say(f"{path} was changed here and is kept; the new version is {path}.new")
    say(f"done. Next:\n  cd {target}\n  .venv/bin/python run_batch.py doctor\n  .venv/bin/python run_batch.py demo")


def _earlier(bundle: Path, target: Path) -> dict[str, tuple[int, str]]:
    """The files of the earlier installation. Raises BundleError if the folder has other contents."""
    if target.resolve().is_relative_to(bundle.resolve()):
        raise BundleError(f"{target} is inside the bundle; choose a folder outside.")
    if (target / KEPT).is_file():
        return Manifest.read(target / KEPT).files
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BundleError(f"{target} is not empty; choose a new folder, or one with an earlier installation.")
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(bundle / NAME, target / KEPT)  # first, so that an interrupted installation can be repeated
    return {}


def copy(bundle: Path, target: Path, manifest: Manifest, before: dict[str, tuple[int, str]]) -> list[str]:
    """Copies project and weights; returns the paths of files that were changed since, which are kept."""
    kept = []
    for path, (_, sha256) in manifest.files.items():
        inside = _inside(path)
        if inside is None:
            continue
        place = target / inside
        if place.is_file() and sha256_of(place) not in (sha256, before.get(path, (0, ""))[1]):
            kept.append(inside)
            place = place.with_name(place.name + ".new")
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(place.name + ".part")
        shutil.copyfile(bundle / path, part)
        part.replace(place)
    for path in before.keys() - manifest.files.keys():  # remove deleted modules, so that they cannot be imported
        inside = _inside(path)
        place = target / (inside or ".")
        if inside and path.startswith(f"{PROJECT}/") and place.is_file() and sha256_of(place) == before[path][1]:
            place.unlink()
    return kept


def _inside(path: str) -> str | None:
    """The path of a file of the bundle below the target; None for files that are not copied."""
    top, _, rest = path.partition("/")
    return {PROJECT: rest, WEIGHTS: f"models/{rest}"}.get(top)


def _environment(bundle: Path, target: Path) -> None:
    python = target / ".venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--clear", target / ".venv"], check=True)
    pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", *PIP_OPTIONS]
    wheels: list[str | Path] = ["--find-links", bundle / WHEELS, "--require-hashes", "-r", bundle / LOCK]
    subprocess.run([*pip, *wheels], check=True)
    # Editable: the only copy of the code is the project folder. Its files were verified above.
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--editable", target], check=True)


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main() -> int:
    """Exit code 0: installed. 3: the bundle is damaged or for another machine, or a step failed."""
    parser = argparse.ArgumentParser(prog="install.sh", description="Installs Scanmill from this bundle, offline.")
    parser.add_argument("bundle", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("folder", type=Path, help="where to install: a new folder, or an earlier installation")
    given = parser.parse_args()
    try:
        install(given.bundle, given.folder.absolute())
    except BundleError as error:
        say(str(error))
    except subprocess.CalledProcessError as error:
        say(f"This step failed (see its output above): {' '.join(map(str, error.cmd))}")
    except OSError as error:
        say(f"{error.filename or given.folder}: {error.strerror}. Free some disk space, or choose a writable folder.")
    else:
        return 0
    return CANNOT_RUN


if __name__ == "__main__":
    sys.exit(main())
