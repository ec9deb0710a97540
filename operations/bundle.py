"""Gathers all that a machine without a network needs into one folder: wheels, project, weights, and install.sh.

The folder is made beside its place, as NAME.partial, and gets its name when it is whole. Wheels are for the Python and
the platform of this machine; what pip fetched once lies in pip's own cache, so that a second attempt is quick.
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

CONSTRAINTS = ("constraints.txt", "constraints-gpu.txt")  # the versions that everybody gets
FILES = ("run_batch.py", "pyproject.toml", *CONSTRAINTS, "Makefile", "LICENSE", "NOTICE", *(
    f"{name}.md" for name in ("README", "CHANGELOG", "DECISIONS", "CONTRIBUTING")))  # fmt: skip
FOLDERS = ("commands", "configs", "docs", "jobs", "models", "operations", "pipeline", "samples", "web")
HIDDEN = (".streamlit",)  # the one folder with a leading dot that holds settings and no cache
SAID = 25  # last lines of pip that are shown when it fails

INSTALL = """#!/bin/sh
# Installs Scanmill from this bundle, without a network:  sh install.sh FOLDER
# A folder that holds an earlier installation is brought up to date. PYTHON=… names another Python {python}.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
python=${{PYTHON:-python{python}}}
if ! command -v "$python" >/dev/null 2>&1; then
    echo "This bundle needs Python {python}, and there is no $python. Install it, or name it: PYTHON=/path/to/python sh install.sh FOLDER" >&2
    exit 3
fi
export PYTHONPATH="$here/{project}" PYTHONDONTWRITEBYTECODE=1
exec "$python" -m operations.bundle_install "$here" "$@"
"""  # noqa: E501

README = """# Scanmill {version}, for a machine without a network
Made {made_at} for Python {python} on {platform} ({libc}); extras: {extras}; {packages} packages; weights: {weights}.

1. Copy this whole folder to that machine.
2. `sh install.sh /srv/scanmill` verifies every byte, copies the project to that folder and installs the packages there
   into `.venv`, by hash and from this folder alone. It prints the SHA-256 of manifest.json, to compare with the one
   that was printed when this bundle was made. The same command brings an earlier installation up to date: documents,
   results, and the jobs and configs that you changed stay.
3. `cd /srv/scanmill && .venv/bin/python run_batch.py doctor` says whether all is well there, and what to do where not.
   `.venv/bin/python run_batch.py demo` reads the samples.

`run_batch.py doctor --bundle FOLDER` looks at the bundle again. docs/operations.md has the rest.
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
    """Makes the bundle; returns its manifest and the manifest's SHA-256.

    Raises ConfigError (an unknown extra, a folder that is not empty), BundleError (pip) and StorageError.
    """
    wanted = requirements(project / "pyproject.toml", extras)
    if bundle.is_symlink() or (bundle.exists() and (not bundle.is_dir() or any(bundle.iterdir()))):
        raise ConfigError([Fault(str(bundle), None, "", "is not empty; name a new folder for the bundle")])
    if weights is not None and not (weights / "config.json").is_file():
        raise ConfigError([Fault(str(weights), None, "--weights", "is no weights folder: it holds no config.json")])
    partial = bundle.with_name(bundle.name + ".partial")
    machine = _machine(project, python)
    with filesystem.storing(bundle):
        partial.mkdir(parents=True, exist_ok=True)
        for name in (WHEELS, PROJECT):  # the weights alone are worth going on with
            shutil.rmtree(partial / name, ignore_errors=True)
        steps.step("gathering the packages")
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
        told = {"version": _version(project), "made_at": made_at, "extras": ", ".join(extras) or "none",
                "packages": len(packages), "weights": named or "none", "project": PROJECT,
                "python": machine.python, "platform": machine.platform, "libc": machine.libc}  # fmt: skip
        (partial / "install.sh").write_text(INSTALL.format(**told))
        (partial / "install.sh").chmod(0o755)
        (partial / "README.md").write_text(README.format(**told))
        files = _digests(partial, steps)
        manifest = Manifest(_version(project), made_at, machine, tuple(extras), packages, named, files)
        own = manifest.write(partial)
        if bundle.exists():
            bundle.rmdir()
        partial.rename(bundle)
    return manifest, own


def requirements(pyproject: Path, extras: Sequence[str]) -> list[str]:
    """What pip must fetch: the base, the extras, and what builds the project. Raises ConfigError."""
    told = tomllib.loads(pyproject.read_text("utf-8"))
    known: dict[str, list[str]] = told["project"]["optional-dependencies"]
    faults = []
    for extra in extras:
        if extra not in known:
            near = get_close_matches(extra, known, 1)
            right = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            faults.append(Fault("--extra", None, "", f"{extra} is not known; {right}"))
    if faults:
        raise ConfigError(faults)
    wanted, open_ = [*told["project"]["dependencies"], *told["build-system"]["requires"]], list(extras)
    while open_:
        for line in known[open_.pop()]:
            if (asked := Requirement(line)).name == told["project"]["name"]:  # an extra made of others
                open_ += asked.extras
            else:
                wanted.append(line)
    return wanted


def project_files(project: Path) -> list[str]:
    """What must lie on the other side to run, as paths below the project: code, jobs, configs, samples, documents.

    A walk and not git's list: your own jobs and configs belong to it, committed or not. Of models/, packages only.
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
    """What the wheels will be made for: that Python, asked by itself."""
    ask = (
        "import json, dataclasses; from operations.bundle_manifest import Machine; "
        "print(json.dumps(dataclasses.asdict(Machine.here())))"
    )
    try:
        done = subprocess.run([python, "-c", ask], cwd=project, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ConfigError([Fault("--python", None, "", f"{python} is no Python that runs here ({error})")]) from None
    return Machine(**json.loads(done.stdout))


def _fetch(python: Path, wanted: Sequence[str], wheels: Path, options: Sequence[str | Path], steps: Steps) -> None:
    command: list[str | Path] = [
        *(python, "-m", "pip", "wheel", "--disable-pip-version-check", "--no-input", "--prefer-binary"),
        *("--progress-bar", "off", "--wheel-dir", wheels),
        *options,
        *wanted,
    ]
    said: deque[str] = deque(maxlen=SAID)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace") as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            said.append(line)
            steps.detail(line)
    if pip.returncode:
        raise BundleError(f"pip could not gather the packages. Its last words:\n{''.join(said).rstrip()}")


def _lock(partial: Path) -> dict[str, str]:
    """Writes the requirements, each with its one hash; returns the packages and their versions."""
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
    """One that is there already, whole, is not copied again. Its time of change says so: it is set last."""
    files = [path for path in sorted(weights.rglob("*")) if path.is_file() and not _hidden(path.relative_to(weights))]
    advance = steps.step("copying the weights", sum(path.stat().st_size for path in files))
    wanted = {path.relative_to(weights) for path in files}
    for old in [path for path in target.rglob("*") if path.is_file() and path.relative_to(target) not in wanted]:
        old.unlink()
    for path in files:
        place, found = target / path.relative_to(weights), path.stat()
        if place.is_file() and (place.stat().st_size, place.stat().st_mtime_ns) == (found.st_size, found.st_mtime_ns):
            advance(found.st_size)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as source, place.open("wb") as out:
            while block := source.read(1 << 22):
                out.write(block)
                advance(len(block))
        os.utime(place, ns=(found.st_atime_ns, found.st_mtime_ns))


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _digests(partial: Path, steps: Steps) -> dict[str, tuple[int, str]]:
    """Of what was truly written, read back."""
    places = sorted(path for path in partial.rglob("*") if path.is_file())
    sizes = [place.stat().st_size for place in places]
    advance = steps.step("reading it all back", sum(sizes))
    return {
        place.relative_to(partial).as_posix(): (size, sha256_of(place, advance))
        for place, size in zip(places, sizes, strict=True)
    }
