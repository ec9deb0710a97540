"""Check whether a run can succeed: machine, packages, settings, folders, disk, clock, engine. Changes nothing.

A fault would stop a run or make its results useless; a warning should be looked into. Successful checks are listed too.
"""

import os
import re
import shutil
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from models import engine_check
from operations import library_check
from operations.bundle_install import KEPT, WEIGHTS
from operations.bundle_manifest import NAME, BundleError, Machine, Manifest
from operations.progress import Steps
from pipeline.core import offline
from pipeline.core.check_result import CheckResult
from pipeline.core.errors import ConfigError, StorageError
from pipeline.inbox.scanner import ignored
from pipeline.plugins.engines import ENGINES, choose
from pipeline.plugins.formats import FORMATS
from pipeline.reporting.console import counted
from pipeline.schema.job import Job, load_jobs
from pipeline.schema.settings import Settings
from pipeline.storage.job_table import ASIDE, JobTable, describe
from pipeline.system import filesystem
from pipeline.system.locks import holder, on_share
from pipeline.system.resource_shortage import ADDRESS_SPACE_CURE, address_space_fault

MIB = 1 << 20
LEAST_MIB, SPARE_MIB = 100, 1024  # free disk space: a fault below the first; a warning below the second
FILES_A_DOCUMENT = 8  # an upper bound: records, pictures, the file itself in two folders
FIRST_YEAR, LAST_YEAR = 2026, 2100  # a clock outside of these is wrong
LONG_HELD_S = 24 * 3600.0
WORKING_FOLDERS = ("inbox", "working", "done", "failed", "duplicate", "records", "results", "files", "runs")


def examine(
    project: Path, settings: Settings | ConfigError, bundle: Path | None, steps: Steps
) -> Iterator[CheckResult]:
    """All findings, in the order of the table. `settings` may be the error of reading them."""
    if bundle is not None:
        yield _bundle(bundle, steps)
    project_config = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["project"]
    yield _python(project_config["requires-python"])
    yield from packages(project_config, settings)
    yield from plugins()
    yield _offline()
    if isinstance(settings, ConfigError):
        for fault in settings.faults:
            yield CheckResult("settings", "fault", str(fault), "Correct the config; docs/operations.md names its keys.")
        return
    yield CheckResult("settings", "ok", f"root {settings.root.absolute()}, jobs {settings.jobs.absolute()}")
    yield from _jobs(settings)
    yield from _memory(settings)
    try:
        yield from folders(settings)
    except StorageError as error:
        seen, _, cure = str(error).rpartition(". ")
        yield CheckResult("folders", "fault", seen, cure)
    yield from tables(settings, good_jobs(settings))
    yield _clock(settings.root)
    yield from library_check.findings()
    yield from engine_check.checkup(settings, _published(project), steps.step)


def good_jobs(settings: Settings | ConfigError) -> list[Job]:
    """The jobs; empty if they have faults, which `examine` reports."""
    try:
        return [] if isinstance(settings, ConfigError) else load_jobs(settings.jobs)
    except ConfigError:
        return []


def _bundle(bundle: Path, steps: Steps) -> CheckResult:
    cure = "Copy the bundle again, or build a new one on a machine like this one."
    try:
        manifest = Manifest.read(bundle / NAME)
    except BundleError as error:
        return CheckResult("bundle", "fault", str(error), cure)
    steps.step("reading the bundle", manifest.bytes)
    faults = [*Machine.here().faults(manifest.machine), *manifest.faults(bundle, steps.advance)]
    if faults:
        return CheckResult("bundle", "fault", "; ".join(faults), cure)
    size = f"{len(manifest.files)} files, {manifest.bytes / 1e6:,.0f} MB"
    return CheckResult(
        "bundle", "ok", f"{size}, intact; version {manifest.version} of {manifest.made_at}; for this machine"
    )


def _python(supported: str) -> CheckResult:
    here = Machine.here()
    seen = f"{here.python} on {here.platform}"
    if here.python in SpecifierSet(supported):
        return CheckResult("Python", "ok", seen)
    return CheckResult(
        "Python", "fault", f"{seen}; supported is {supported}", "Install a supported version and create .venv again."
    )


def _offline() -> CheckResult:
    """Importing Scanmill sets every switch; one that differs was changed later by this process."""
    if wrong := offline.wrong_switches():
        seen = ", ".join(f"{each.variable} is {os.environ.get(each.variable, 'not set')}" for each in wrong)
        cure = "Do not change these variables after Scanmill is imported: it sets " + ", ".join(
            f"{each.variable}={each.value}" for each in wrong
        )
        return CheckResult("offline", "fault", f"libraries may use the network: {seen}", cure)
    libraries = ", ".join(dict.fromkeys(each.library for each in offline.SWITCHES if each.library))
    return CheckResult("offline", "ok", f"telemetry and downloads are off: {libraries}")


def packages(project: Mapping[str, object], settings: Settings | ConfigError) -> Iterator[CheckResult]:
    """Whether the base and each extra are installed. `project` is [project] of pyproject.toml."""
    base, extras = project["dependencies"], project["optional-dependencies"]
    assert isinstance(base, list)
    assert isinstance(extras, dict)
    needed = "" if isinstance(settings, ConfigError) else choose(settings)[0].extra
    for name, wanted in (("base", base), *extras.items()):
        if name.startswith("test"):
            continue
        faults, installed = _package_faults(wanted)
        if not faults:
            yield CheckResult("packages", "ok", f"{name}: all {len(wanted)} are installed")
        elif name in ("base", needed):
            extra = "" if name == "base" else f"[{name}]"
            cure = f"pip install -c constraints.txt -e '.{extra}', or install.sh of a bundle"
            yield CheckResult("packages", "fault", f"{name}: {', '.join(faults)}", cure)
        elif installed:
            cure = f"pip install -c constraints.txt -e '.[{name}]'"
            yield CheckResult("packages", "warning", f"{name}, incomplete: {', '.join(faults)}", cure)
        else:
            yield CheckResult("packages", "ok", f"{name}: not installed, and not needed")


def plugins() -> Iterator[CheckResult]:
    """The engines and formats that installed packages provide."""
    for registry in (ENGINES, FORMATS):
        try:
            foreign = registry.foreign
        except ConfigError as error:
            yield CheckResult("packages", "fault", str(error), "No run can start until this is fixed.")
            continue
        for name, package in foreign.items():
            try:
                registry.get(name)
                yield CheckResult("packages", "ok", f"{registry.what} {name}, brought by {package}")
            except ConfigError as error:
                yield CheckResult("packages", "fault", str(error), "Uninstall the package, or install it again.")


def _package_faults(wanted: Sequence[str]) -> tuple[list[str], int]:
    """Missing packages and wrong versions, and the number of packages that are installed."""
    faults, installed = [], 0
    for line in wanted:
        need = Requirement(line)
        if need.marker is not None and not need.marker.evaluate():
            continue
        try:
            found = version(need.name)
        except PackageNotFoundError:
            faults.append(f"{need.name} is missing")
            continue
        installed += 1
        if not need.specifier.contains(found, prereleases=True):
            faults.append(f"{need.name} {found} is installed, {need.specifier} is needed")
    return faults, installed


def _jobs(settings: Settings) -> Iterator[CheckResult]:
    try:
        jobs = load_jobs(settings.jobs)
    except ConfigError as error:
        for fault in error.faults:
            yield CheckResult("jobs", "fault", str(fault), "Correct the job; run_batch.py check names every fault.")
        return
    yield CheckResult("jobs", "ok", f"{len(jobs)} valid")


def _memory(settings: Settings) -> Iterator[CheckResult]:
    """A fault if the address space is limited too much."""
    if fault := address_space_fault(settings.limits.memory_mib):
        yield CheckResult("memory", "fault", fault, ADDRESS_SPACE_CURE)


def folders(settings: Settings) -> Iterator[CheckResult]:
    """Raises StorageError if the root cannot be accessed."""
    root = settings.root
    with filesystem.storing(root):
        exists = (root / "inbox").is_dir()
    if not exists:
        cure = f"mkdir -p {root / 'inbox'}, or connect the share, or name another root."
        yield CheckResult("folders", "fault", f"there is no {root / 'inbox'}", cure)
        return
    yield _rights(root)
    yield _room(root)
    if on_share(root) and not settings.poll:
        cure = "Set `poll: true`: a network share does not report files from other machines."
        yield CheckResult("share", "warning", f"{root} is on a network share", cure)
    held = holder(root)
    if not held:
        left = [place for place in _entries(root / "working") if any(_files(place))]
        seen = f"nobody; {counted(len(left), 'cut-off run')}, which the next run puts in order" if left else "nobody"
        yield CheckResult("at work", "ok", seen)
        return
    seen = f"run {held.get('run')}, process {held.get('pid')} on {held.get('host')}, since {held.get('since')}"
    since = datetime.fromisoformat(str(held.get("since") or datetime.now().astimezone().isoformat()))
    if time.time() - since.timestamp() > LONG_HELD_S:
        cure = "If it is no `watch`, look at what it does: run_batch.py status."
        yield CheckResult("at work", "warning", seen, cure)
    else:
        yield CheckResult("at work", "ok", seen)


def tables(settings: Settings, jobs: Sequence[Job]) -> Iterator[CheckResult]:
    """Whether every table has the rows of its records. Reads all tables and lists the records."""
    if not jobs or not os.path.isdir(settings.root / "records"):  # Path.is_dir raises where it has no right
        return
    try:
        if holder(settings.root):
            yield CheckResult("tables", "ok", "not compared with the records while a run is at work")
            return
        verdicts = [(job, JobTable(settings.root, job, sinks=settings.sinks).verify()) for job in jobs]
    except StorageError as error:
        seen, _, cure = str(error).rpartition(". ")
        yield CheckResult("tables", "fault", seen, cure)
        return
    for job, verdict in ((job, each) for job, of_job in verdicts for each in of_job.items()):
        name, found = verdict
        if not found.sound:
            cure = f"The next run rebuilds it from the records; to do it now: run_batch.py table {job.name}"
            yield CheckResult("tables", "warning", f"{job.name}: {describe(name, found)}", cure)
        if found.foreign:
            names = ", ".join(filesystem.printable(path.name) for path in found.foreign)
            cure = f"The next run moves them to {ASIDE}/: pandas cannot read a folder with them."
            yield CheckResult("tables", "warning", f"other files in {found.foreign[0].parent}: {names}", cure)
    if all(found.sound for _, of_job in verdicts for found in of_job.values()):
        counts = {name: sum(of_job[name].rows for _, of_job in verdicts) for name in settings.sinks}
        rows = ", ".join(f"{count:,} rows in {name}" for name, count in counts.items())
        yield CheckResult("tables", "ok", f"{rows}: as many as records, and none older than its record")


def _rights(root: Path) -> CheckResult:
    there = [root, *(root / name for name in WORKING_FOLDERS if (root / name).exists()), *_entries(root / "inbox")]
    closed = [str(place) for place in there if place.is_dir() and not os.access(place, os.R_OK | os.W_OK | os.X_OK)]
    if closed:
        cure = f"Give the user that runs Scanmill all rights: chown -R {os.environ.get('USER', 'USER')} {root}"
        return CheckResult("folders", "fault", f"no right to read and write: {', '.join(closed)}", cure)
    others = [str(place) for place in there if place.stat().st_dev != root.stat().st_dev]
    if others:
        cure = "Keep all folders of a root on one disk: files move between them by renaming."
        return CheckResult("folders", "fault", f"on another disk than {root}: {', '.join(others)}", cure)
    open_ = [str(place) for place in there if place.stat().st_mode & 0o002 and place.parts[-2:-1] != ("inbox",)]
    if open_:
        cure = "Only boxes of the inbox need to be open: chmod o-w"
        return CheckResult("folders", "warning", f"every user may write to {', '.join(open_)}", cure)
    return CheckResult("folders", "ok", f"{root}: all can be read and written")


def _room(root: Path) -> CheckResult:
    """Files move by renaming, so that only results need space: at most as much as the files themselves."""
    files = [path for box in _entries(root / "inbox") for path in _files(box)]
    waiting = [path for path in files if not ignored(os.path.basename(path))]
    inbox_mib = sum(_size(path) for path in waiting) / MIB
    free_mib = shutil.disk_usage(root).free / MIB
    inodes = os.statvfs(root)
    seen = f"{free_mib / 1024:,.1f} GiB free; in the inbox: {counted(len(waiting), 'file')}, {inbox_mib:,.0f} MiB"
    cure = "Free some space, or move done/ of past months to another disk."
    if free_mib < LEAST_MIB:
        return CheckResult("disk", "fault", seen, cure)
    if free_mib < SPARE_MIB + inbox_mib:
        return CheckResult("disk", "warning", f"{seen}; it may not be enough", cure)
    if inodes.f_files and inodes.f_favail < FILES_A_DOCUMENT * len(waiting) + 1000:
        return CheckResult("disk", "warning", f"{seen}, but room for {inodes.f_favail:,} more files only", cure)
    return CheckResult("disk", "ok", seen)


def _clock(root: Path) -> CheckResult:
    now = datetime.now().astimezone()
    seen = f"{now:%Y-%m-%d %H:%M} {now.tzname()}"
    cure = "Set the clock (timedatectl): records, tables and `--until` go by it."
    if not FIRST_YEAR <= now.year <= LAST_YEAR:
        return CheckResult("clock", "fault", f"{seen}: the year is wrong", cure)
    stamps = (re.match(r"(\d{4}-\d\d-\d\d)_(\d\d)-(\d\d)-\d\d.*\.json$", name) for name in _names(root / "runs"))
    newest = max((f"{found[1]} {found[2]}:{found[3]}" for found in stamps if found), default="")
    if newest > f"{now:%Y-%m-%d %H:%M}":
        return CheckResult("clock", "fault", f"{seen}, but a run began at {newest}", cure)
    return CheckResult("clock", "ok", seen)


def _published(project: Path) -> dict[str, str]:
    """The SHA-256 of weights files by name, if this was installed from a bundle with weights."""
    if not (project / KEPT).is_file():
        return {}
    files = Manifest.read(project / KEPT).files
    return {path.rsplit("/", 1)[1]: sha256 for path, (_, sha256) in files.items() if path.startswith(f"{WEIGHTS}/")}


def _entries(folder: Path) -> list[Path]:
    """The subfolders, links to folders included."""
    return [folder / name for name in _names(folder) if os.path.isdir(folder / name)]  # never raises


def _names(folder: Path) -> list[str]:
    """The names in it; empty if it cannot be read."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _files(folder: Path) -> Iterator[str]:
    for place, _, names in os.walk(folder):
        yield from (os.path.join(place, name) for name in names)


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except FileNotFoundError:
        return 0
