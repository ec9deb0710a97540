"""Build a bundle to install Scanmill from without a network: wheels, project, weights and install.sh.

The folder is written as NAME.partial and renamed when it is complete. Wheels are for the Python version and platform of
this machine. pip caches downloads, so that a second attempt is fast.
"""

import json
import os
import re
import shutil
import subprocess
import tomllib
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path

from packaging.requirements import Requirement

from operations.bundle_install import LOCK, PROJECT, WEIGHTS, WHEELS
from operations.bundle_manifest import BundleError, Machine, Manifest
from operations.progress import Steps
from pipeline.core.errors import ConfigError, Fault
from pipeline.system import filesystem
from pipeline.system.filesystem import sha256_of

CONSTRAINTS = ("constraints.txt", "constraints-gpu.txt")  # pinned versions
FILES = ("run_batch.py", "pyproject.toml", *CONSTRAINTS, "Makefile", "LICENSE", "NOTICE", *(
    f"{name}.md" for name in ("README", "CHANGELOG", "DECISIONS", "CONTRIBUTING")))  # fmt: skip
FOLDERS = ("commands", "configs", "docs", "jobs", "models", "operations", "pipeline", "samples", "web")
HIDDEN = (".streamlit",)  # hidden folders that are part of the project
PIP_LINES = 25  # last lines of pip's output that are shown if it fails

INSTALL = """#!/bin/sh
# Installs Scanmill from this bundle, without a network:  sh install.sh FOLDER
# An earlier installation in FOLDER is updated. PYTHON=… selects another Python {python}.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
python=${{PYTHON:-python{python}}}
if ! command -v "$python" >/dev/null 2>&1; then
    echo "This bundle needs Python {python}, but there is no $python. Install it, or set its path: PYTHON=/path/to/python sh install.sh FOLDER" >&2
    exit 3
fi
export PYTHONPATH="$here/{project}" PYTHONDONTWRITEBYTECODE=1
exec "$python" -m operations.bundle_install "$here" "$@"
"""  # noqa: E501

README = """# Scanmill {version}, for a machine without a network
Built {made_at} for Python {python} on {platform} ({libc}); extras: {extras}; {packages} packages; weights: {weights}.

1. Copy this folder to that machine.
2. `sh install.sh /srv/scanmill` verifies every file, copies the project to that folder and installs the packages
   into `.venv`, by hash and only from this folder. It prints the SHA-256 of manifest.json; compare it with the one
   printed when this bundle was built. The same command updates an earlier installation and keeps documents, results,
   and changed jobs and configs.
3. `cd /srv/scanmill && .venv/bin/python run_batch.py doctor` checks the installation and lists remedies.
   `.venv/bin/python run_batch.py demo` processes the samples.

`run_batch.py doctor --bundle FOLDER` verifies the bundle again. See docs/operations.md.
"""


def gather(
    project: Path,
    bundle: Path,
    extras: Sequence[str],
    weights: Path | None,
    python: Path,
    pip_options: Sequence[str],
    steps: Steps,
) -> tuple[Manifest, str]:
    """Builds the bundle; returns its manifest and the SHA-256 of the manifest.

    Raises ConfigError (an unknown extra, a folder that is not empty), BundleError (pip) and StorageError.
    """
    wanted = requirements(project / "pyproject.toml", extras)
    if bundle.is_symlink() or (bundle.exists() and (not bundle.is_dir() or any(bundle.iterdir()))):
        raise ConfigError([Fault(str(bundle), None, "", "is not empty; name a new folder for the bundle")])
    if weights is not None and not (weights / "config.json").is_file():
        raise ConfigError([Fault(str(weights), None, "--weights", "is not a weights folder: it has no config.json")])
    partial = bundle.with_name(bundle.name + ".partial")
    machine = _machine(project, python)
    with filesystem.storing(bundle):
        partial.mkdir(parents=True, exist_ok=True)
        for name in (WHEELS, PROJECT):  # copied weights are kept from an earlier attempt
            shutil.rmtree(partial / name, ignore_errors=True)
        steps.step("building the wheels")
        pins = [word for name in CONSTRAINTS for word in ("--constraint", project / name)]
        _fetch(python, wanted, partial / WHEELS, [*pins, *pip_options], steps)
        packages = _lock(partial)
        steps.step("copying the project")
        for path in project_files(project):
            _copy(project / path, partial / PROJECT / path)
        if weights is None:
            shutil.rmtree(partial / WEIGHTS, ignore_errors=True)
        else:
            copy_weights(weights, partial / WEIGHTS / weights.resolve().name, steps)
        made_at = datetime.now().astimezone().isoformat(timespec="seconds")
        named = weights.resolve().name if weights else None
        values = {"version": _version(project), "made_at": made_at, "extras": ", ".join(extras) or "none",
                "packages": len(packages), "weights": named or "none", "project": PROJECT,
                "python": machine.python, "platform": machine.platform, "libc": machine.libc}  # fmt: skip
        (partial / "install.sh").write_text(INSTALL.format(**values))
        (partial / "install.sh").chmod(0o755)
        (partial / "README.md").write_text(README.format(**values))
        files = _digests(partial, steps)
        manifest = Manifest(_version(project), made_at, machine, tuple(extras), packages, named, files)
        own = manifest.write(partial)
        if bundle.exists():
            bundle.rmdir()
        partial.rename(bundle)
    return manifest, own


def requirements(pyproject: Path, extras: Sequence[str]) -> list[str]:
    """The requirements for pip: base, extras and build system. Raises ConfigError for an unknown extra."""
    config = tomllib.loads(pyproject.read_text("utf-8"))
    known: dict[str, list[str]] = config["project"]["optional-dependencies"]
    faults = []
    for extra in extras:
        if extra not in known:
            near = get_close_matches(extra, known, 1)
            right = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            faults.append(Fault("--extra", None, "", f"{extra} is not known; {right}"))
    if faults:
        raise ConfigError(faults)
    wanted, open_ = [*config["project"]["dependencies"], *config["build-system"]["requires"]], list(extras)
    while open_:
        for line in known[open_.pop()]:
            if (asked := Requirement(line)).name == config["project"]["name"]:  # an extra made of others
                open_ += asked.extras
            else:
                wanted.append(line)
    return wanted


def project_files(project: Path) -> list[str]:
    """The files of the project to copy, as relative paths: code, jobs, configs, samples, docs.

    Includes jobs and configs that are not committed. Of models/ only Python packages are copied, no weights.
    """
    found = [name for name in FILES if (project / name).is_file()]
    for top in FOLDERS:
        for place, folders, names in os.walk(project / top):
            here = Path(place)
            packages_only = here == project / "models"
            folders[:] = sorted(
                name
                for name in folders
                if (not name.startswith((".", "__pycache__")) or name in HIDDEN)
                and (not packages_only or (here / name / "__init__.py").is_file())
            )
            found += [
                (here / name).relative_to(project).as_posix() for name in sorted(names) if not name.startswith(".")
            ]
    return found


def _version(project: Path) -> str:
    return str(tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["project"]["version"])


def _machine(project: Path, python: Path) -> Machine:
    """The machine that the wheels are for, as reported by `python`. Raises ConfigError."""
    ask = (
        "import json, dataclasses; from operations.bundle_manifest import Machine; "
        "print(json.dumps(dataclasses.asdict(Machine.here())))"
    )
    try:
        done = subprocess.run([python, "-c", ask], cwd=project, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ConfigError(
            [Fault("--python", None, "", f"{python} cannot be run as a Python interpreter ({error})")]
        ) from None
    return Machine(**json.loads(done.stdout))


def _fetch(python: Path, wanted: Sequence[str], wheels: Path, options: Sequence[str | Path], steps: Steps) -> None:
    command: list[str | Path] = [
        *(python, "-m", "pip", "wheel", "--disable-pip-version-check", "--no-input", "--prefer-binary"),
        *("--progress-bar", "off", "--wheel-dir", wheels),
        *options,
        *wanted,
    ]
    output: deque[str] = deque(maxlen=PIP_LINES)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace") as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            output.append(line)
            steps.detail(line)
    if pip.returncode:
        raise BundleError(f"pip could not build the wheels. Its last output:\n{''.join(output).rstrip()}")


def _lock(partial: Path) -> dict[str, str]:
    """Writes requirements.lock with the hash of every wheel; returns the packages and their versions."""
    packages, lines = {}, []
    for wheel in sorted((partial / WHEELS).glob("*.whl")):
        name, version, *_ = wheel.name.split("-")
        name = re.sub(r"[-_.]+", "-", name).lower()
        packages[name] = version
        lines.append(f"{name}=={version} --hash=sha256:{sha256_of(wheel)}\n")
    (partial / LOCK).write_text("".join(lines))
    return packages


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def copy_weights(weights: Path, target: Path, steps: Steps) -> None:
    """Copy the weights. Files with equal size and time of change are complete and skipped: the time is set last."""
    files = [path for path in sorted(weights.rglob("*")) if path.is_file() and not _hidden(path.relative_to(weights))]
    advance = steps.step("copying the weights", sum(path.stat().st_size for path in files))
    wanted = {path.relative_to(weights) for path in files}
    for old in [path for path in target.rglob("*") if path.is_file() and path.relative_to(target) not in wanted]:
        old.unlink()
    for path in files:
        copy, info = target / path.relative_to(weights), path.stat()
        if copy.is_file() and (copy.stat().st_size, copy.stat().st_mtime_ns) == (info.st_size, info.st_mtime_ns):
            advance(info.st_size)
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as source, copy.open("wb") as destination:
            while block := source.read(1 << 22):
                destination.write(block)
                advance(len(block))
        os.utime(copy, ns=(info.st_atime_ns, info.st_mtime_ns))


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _digests(partial: Path, steps: Steps) -> dict[str, tuple[int, str]]:
    """Size and SHA-256 of every file, read back from the disk."""
    places = sorted(path for path in partial.rglob("*") if path.is_file())
    sizes = [place.stat().st_size for place in places]
    advance = steps.step("verifying the bundle", sum(sizes))
    return {
        place.relative_to(partial).as_posix(): (size, sha256_of(place, advance))
        for place, size in zip(places, sizes, strict=True)
    }
