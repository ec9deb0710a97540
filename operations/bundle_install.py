"""Installs a bundle on a machine without a network: verify, copy, make .venv, install by hash. Started by install.sh.

Needs no package. An earlier installation in the same folder is brought up to date: documents, results
and whatever a person changed in it stay as they are.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from operations.bundle_manifest import NAME, BundleError, Machine, Manifest
from pipeline.core.errors import CANNOT_RUN
from pipeline.system.filesystem import sha256_of

PROJECT, WHEELS, WEIGHTS, LOCK = "scanmill", "wheels", "weights", "requirements.lock"  # what lies in a bundle
KEPT = ".bundle.json"  # the manifest of what was installed: tells at the next time what a person has changed since
PIP_OPTIONS = ["--isolated", "--disable-pip-version-check", "--no-index", "--no-cache-dir", "--progress-bar", "off"]


def install(bundle: Path, target: Path) -> None:
    """Raises BundleError, and OSError or CalledProcessError where a step fails; run again, it begins anew."""
    manifest = Manifest.read(bundle / NAME)
    if faults := Machine.here().faults(manifest.machine):
        raise BundleError("This bundle does not fit: " + "; ".join(faults) + ".")
    say(f"looking at {len(manifest.files)} files, {manifest.bytes / 1e6:,.0f} MB")
    if faults := list(manifest.faults(bundle)):
        listed = "\n".join(f"  - {fault}" for fault in faults)
        raise BundleError(f"The bundle is not whole:\n{listed}\nCopy it again.")
    say(f"every byte is as it was made; SHA-256 of {NAME}: {sha256_of(bundle / NAME)}")
    before = _earlier(bundle, target)
    kept = copy(bundle, target, manifest, before)
    say("making .venv and installing the packages from the bundle")
    _environment(bundle, target)
    shutil.copyfile(bundle / NAME, target / KEPT)
    for path in kept:
        say(f"{path} was changed here and stays; the new one lies beside it as {path}.new")
    say(f"done. Next:\n  cd {target}\n  .venv/bin/python run_batch.py doctor\n  .venv/bin/python run_batch.py demo")


def _earlier(bundle: Path, target: Path) -> dict[str, tuple[int, str]]:
    """The files of the bundle that was installed here before. Raises BundleError where something else lies here."""
    if target.resolve().is_relative_to(bundle.resolve()):
        raise BundleError(f"{target} lies in the bundle itself; name a folder outside of it.")
    if (target / KEPT).is_file():
        return Manifest.read(target / KEPT).files
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BundleError(f"{target} holds other things; name a new folder, or one that a bundle was installed in.")
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(bundle / NAME, target / KEPT)  # at once: a first installation that was cut off is known again
    return {}


def copy(bundle: Path, target: Path, manifest: Manifest, before: dict[str, tuple[int, str]]) -> list[str]:
    """Copies project and weights; returns the paths that a person changed since, which are left."""
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
    for path in before.keys() - manifest.files.keys():  # a module that is no more must not be found by an import
        inside = _inside(path)
        place = target / (inside or ".")
        if inside and path.startswith(f"{PROJECT}/") and place.is_file() and sha256_of(place) == before[path][1]:
            place.unlink()
    return kept


def _inside(path: str) -> str | None:
    """Where a file of the bundle goes below the target; None for what stays in the bundle."""
    top, _, rest = path.partition("/")
    return {PROJECT: rest, WEIGHTS: f"models/{rest}"}.get(top)


def _environment(bundle: Path, target: Path) -> None:
    python = target / ".venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--clear", target / ".venv"], check=True)
    pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", *PIP_OPTIONS]
    wheels: list[str | Path] = ["--find-links", bundle / WHEELS, "--require-hashes", "-r", bundle / LOCK]
    subprocess.run([*pip, *wheels], check=True)
    # The project is its tree: one copy of the code. Its own files were verified above.
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--editable", target], check=True)


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main() -> int:
    """0 installed; 3 the bundle is not whole, does not fit, or a step failed."""
    parser = argparse.ArgumentParser(prog="install.sh", description="Installs Scanmill from this bundle, offline.")
    parser.add_argument("bundle", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("folder", type=Path, help="where to install: a new folder, or an earlier installation")
    given = parser.parse_args()
    try:
        install(given.bundle, given.folder.absolute())
    except BundleError as error:
        say(str(error))
    except subprocess.CalledProcessError as error:
        say(f"This step failed (its own words stand above): {' '.join(map(str, error.cmd))}")
    except OSError as error:
        say(f"{error.filename or given.folder}: {error.strerror}. Free space, or choose a folder that may be written.")
    else:
        return 0
    return CANNOT_RUN


if __name__ == "__main__":
    sys.exit(main())
