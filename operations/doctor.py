"""Is all well for tonight? Machine, packages, settings, folders, disk, clock and engine, a line each; changes nothing.

A fault would stop a run or make it lose its sense; a warning is worth a look in daylight. What is well is said, too.
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

from models import checkup
from operations import loads
from operations.install import KEPT, WEIGHTS
from operations.manifest import NAME, BundleError, Machine, Manifest
from operations.steps import Steps
from pipeline import disk, offline
from pipeline.boxes import ignored
from pipeline.console import counted
from pipeline.engines import ENGINES, choose
from pipeline.errors import ConfigError, StorageError
from pipeline.finding import Finding
from pipeline.formats import FORMATS
from pipeline.job import Job, load_jobs
from pipeline.lock import holder, on_share
from pipeline.settings import Settings
from pipeline.shortage import ADDRESS_SPACE_CURE, address_space_fault
from pipeline.table import ASIDE, Table, said

MIB = 1 << 20
LEAST_MIB, SPARE_MIB = 100, 1024  # free: below the first nothing can be written for long; the second is room to breathe
FILES_A_DOCUMENT = 8  # records, the file itself in two places for a moment, pictures: more than there ever are
BORN, LAST = 2026, 2100  # no clock shows a year outside of these
LONG_HELD_S = 24 * 3600.0
WORKING_FOLDERS = ("inbox", "working", "done", "failed", "duplicate", "records", "results", "files", "runs")


def examine(project: Path, settings: Settings | ConfigError, bundle: Path | None, steps: Steps) -> Iterator[Finding]:
    """Every finding, in the order of the table. `settings` may be what was wrong with them."""
    if bundle is not None:
        yield _bundle(bundle, steps)
    told = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["project"]
    yield _python(told["requires-python"])
    yield from packages(told, settings)
    yield from brought()
    yield _offline()
    if isinstance(settings, ConfigError):
        for fault in settings.faults:
            yield Finding("settings", "fault", str(fault), "Correct the config; docs/operations.md names its keys.")
        return
    yield Finding("settings", "ok", f"root {settings.root.absolute()}, jobs {settings.jobs.absolute()}")
    yield from _jobs(settings)
    yield from _memory(settings)
    try:
        yield from folders(settings)
    except StorageError as error:
        seen, _, cure = str(error).rpartition(". ")
        yield Finding("folders", "fault", seen, cure)
    yield from tables(settings, good_jobs(settings))
    yield _clock(settings.root)
    yield from loads.findings()
    yield from checkup.checkup(settings, _published(project), steps.step)


def good_jobs(settings: Settings | ConfigError) -> list[Job]:
    """The jobs, or none where they have faults, which `examine` tells."""
    try:
        return [] if isinstance(settings, ConfigError) else load_jobs(settings.jobs)
    except ConfigError:
        return []


def _bundle(bundle: Path, steps: Steps) -> Finding:
    cure = "Copy the bundle again, or make a new one on a machine like this."
    try:
        manifest = Manifest.read(bundle / NAME)
    except BundleError as error:
        return Finding("bundle", "fault", str(error), cure)
    steps.step("reading the bundle", manifest.bytes)
    faults = [*Machine.here().faults(manifest.machine), *manifest.faults(bundle, steps.advance)]
    if faults:
        return Finding("bundle", "fault", "; ".join(faults), cure)
    size = f"{len(manifest.files)} files, {manifest.bytes / 1e6:,.0f} MB"
    return Finding("bundle", "ok", f"{size}, whole; version {manifest.version} of {manifest.made_at}; fits here")


def _python(supported: str) -> Finding:
    here = Machine.here()
    seen = f"{here.python} on {here.platform}"
    if here.python in SpecifierSet(supported):
        return Finding("Python", "ok", seen)
    return Finding("Python", "fault", f"{seen}; supported is {supported}", "Install one of those, and make .venv anew.")


def _offline() -> Finding:
    """Importing Scanmill has set every switch; one that differs was changed by this very process since."""
    if wrong := offline.contradicted():
        seen = ", ".join(f"{each.variable} is {os.environ.get(each.variable, 'not set')}" for each in wrong)
        cure = "Leave these variables alone after Scanmill is imported: it sets " + ", ".join(
            f"{each.variable}={each.value}" for each in wrong
        )
        return Finding("offline", "fault", f"libraries may call out: {seen}", cure)
    libraries = ", ".join(dict.fromkeys(each.library for each in offline.SWITCHES if each.library))
    return Finding("offline", "ok", f"telemetry and downloads are off: {libraries}")


def packages(told: Mapping[str, object], settings: Settings | ConfigError) -> Iterator[Finding]:
    """The base, and each extra: whole, in part, or not here. `told` is [project] of pyproject.toml."""
    base, extras = told["dependencies"], told["optional-dependencies"]
    assert isinstance(base, list)
    assert isinstance(extras, dict)
    needed = "" if isinstance(settings, ConfigError) else choose(settings)[0].extra
    for name, wanted in (("base", base), *extras.items()):
        if name.startswith("test"):
            continue
        faults, there = _lacking(wanted)
        if not faults:
            yield Finding("packages", "ok", f"{name}: all {len(wanted)} are here")
        elif name in ("base", needed):
            extra = "" if name == "base" else f"[{name}]"
            cure = f"pip install -c constraints.txt -e '.{extra}', or install.sh of a bundle"
            yield Finding("packages", "fault", f"{name}: {', '.join(faults)}", cure)
        elif there:
            cure = f"pip install -c constraints.txt -e '.[{name}]'"
            yield Finding("packages", "warning", f"{name}, in part: {', '.join(faults)}", cure)
        else:
            yield Finding("packages", "ok", f"{name}: not installed, and not needed for this")


def brought() -> Iterator[Finding]:
    """The engines and formats that installed packages bring; nothing where there are none."""
    for registry in (ENGINES, FORMATS):
        try:
            foreign = registry.foreign
        except ConfigError as error:
            yield Finding("packages", "fault", str(error), "Without it no run begins.")
            continue
        for name, package in foreign.items():
            try:
                registry.get(name)
                yield Finding("packages", "ok", f"{registry.what} {name}, brought by {package}")
            except ConfigError as error:
                yield Finding("packages", "fault", str(error), "pip uninstall it, or install it again.")


def _lacking(wanted: Sequence[str]) -> tuple[list[str], int]:
    """What is missing or too old or new, and how many are there."""
    faults, there = [], 0
    for line in wanted:
        need = Requirement(line)
        if need.marker is not None and not need.marker.evaluate():
            continue
        try:
            found = version(need.name)
        except PackageNotFoundError:
            faults.append(f"{need.name} is missing")
            continue
        there += 1
        if not need.specifier.contains(found, prereleases=True):
            faults.append(f"{need.name} {found} where {need.specifier} is needed")
    return faults, there


def _jobs(settings: Settings) -> Iterator[Finding]:
    try:
        jobs = load_jobs(settings.jobs)
    except ConfigError as error:
        for fault in error.faults:
            yield Finding("jobs", "fault", str(fault), "Correct the job; run_batch.py check names every fault.")
        return
    yield Finding("jobs", "ok", f"{len(jobs)} valid")


def _memory(settings: Settings) -> Iterator[Finding]:
    """Only where something bounds it."""
    if fault := address_space_fault(settings.limits.memory_mib):
        yield Finding("memory", "fault", fault, ADDRESS_SPACE_CURE)


def folders(settings: Settings) -> Iterator[Finding]:
    """Raises StorageError where not even a look is allowed."""
    root = settings.root
    with disk.storing(root):
        there = (root / "inbox").is_dir()
    if not there:
        cure = f"mkdir -p {root / 'inbox'}, or connect the share, or name another root."
        yield Finding("folders", "fault", f"there is no {root / 'inbox'}", cure)
        return
    yield _rights(root)
    yield _room(root)
    if on_share(root) and not settings.poll:
        cure = "Set `poll: true`: a share does not tell of files that other machines drop."
        yield Finding("share", "warning", f"{root} lies on a share", cure)
    held = holder(root)
    if not held:
        left = [place for place in _entries(root / "working") if any(_files(place))]
        seen = f"nobody; {counted(len(left), 'cut-off run')}, which the next run puts in order" if left else "nobody"
        yield Finding("at work", "ok", seen)
        return
    seen = f"run {held.get('run')}, process {held.get('pid')} on {held.get('host')}, since {held.get('since')}"
    since = datetime.fromisoformat(str(held.get("since") or datetime.now().astimezone().isoformat()))
    if time.time() - since.timestamp() > LONG_HELD_S:
        cure = "If it is no `watch`, look at what it does: run_batch.py status."
        yield Finding("at work", "warning", seen, cure)
    else:
        yield Finding("at work", "ok", seen)


def tables(settings: Settings, jobs: Sequence[Job]) -> Iterator[Finding]:
    """Whether every table has the rows of its records; reads the tables and lists the records."""
    if not jobs or not (settings.root / "records").is_dir():
        return
    try:
        if holder(settings.root):
            yield Finding("tables", "ok", "not compared with the records while a run is at work")
            return
        verdicts = [(job, Table(settings.root, job, sinks=settings.sinks).verify()) for job in jobs]
    except StorageError as error:
        seen, _, cure = str(error).rpartition(". ")
        yield Finding("tables", "fault", seen, cure)
        return
    for job, verdict in ((job, each) for job, of_job in verdicts for each in of_job.items()):
        name, found = verdict
        if not found.sound:
            cure = f"The next run makes it right from the records; to do it now: run_batch.py table {job.name}"
            yield Finding("tables", "warning", f"{job.name}: {said(name, found)}", cure)
        if found.foreign:
            names = ", ".join(disk.printable(path.name) for path in found.foreign)
            cure = f"The next run moves them to {ASIDE}/: pandas would stumble over them."
            yield Finding("tables", "warning", f"in {found.foreign[0].parent} lie other files: {names}", cure)
    if all(found.sound for _, of_job in verdicts for found in of_job.values()):
        counts = {name: sum(of_job[name].rows for _, of_job in verdicts) for name in settings.sinks}
        rows = ", ".join(f"{count:,} rows in {name}" for name, count in counts.items())
        yield Finding("tables", "ok", f"{rows}: as many as records, and none older than its record")


def _rights(root: Path) -> Finding:
    there = [root, *(root / name for name in WORKING_FOLDERS if (root / name).exists()), *_entries(root / "inbox")]
    closed = [str(place) for place in there if place.is_dir() and not os.access(place, os.R_OK | os.W_OK | os.X_OK)]
    if closed:
        cure = f"Give the user that runs Scanmill all rights: chown -R {os.environ.get('USER', 'USER')} {root}"
        return Finding("folders", "fault", f"no right to read and write: {', '.join(closed)}", cure)
    others = [str(place) for place in there if place.stat().st_dev != root.stat().st_dev]
    if others:
        cure = "Keep all folders of a root on one disk: files move between them by renaming."
        return Finding("folders", "fault", f"on another disk than {root}: {', '.join(others)}", cure)
    open_ = [str(place) for place in there if place.stat().st_mode & 0o002 and place.parts[-2:-1] != ("inbox",)]
    if open_:
        cure = "Only boxes of the inbox need to be open: chmod o-w"
        return Finding("folders", "warning", f"every user may write to {', '.join(open_)}", cure)
    return Finding("folders", "ok", f"{root}: all can be read and written")


def _room(root: Path) -> Finding:
    """Files move by renaming, so that only what is made of them needs room: at most as much again."""
    lying = [path for box in _entries(root / "inbox") for path in _files(box)]
    waiting = [path for path in lying if not ignored(os.path.basename(path))]
    inbox_mib = sum(_size(path) for path in waiting) / MIB
    free_mib = shutil.disk_usage(root).free / MIB
    inodes = os.statvfs(root)
    seen = f"{free_mib / 1024:,.1f} GiB free; in the inbox: {counted(len(waiting), 'file')}, {inbox_mib:,.0f} MiB"
    cure = "Free some space, or move done/ of past months to another disk."
    if free_mib < LEAST_MIB:
        return Finding("disk", "fault", seen, cure)
    if free_mib < SPARE_MIB + inbox_mib:
        return Finding("disk", "warning", f"{seen}; it may not be enough", cure)
    if inodes.f_files and inodes.f_favail < FILES_A_DOCUMENT * len(waiting) + 1000:
        return Finding("disk", "warning", f"{seen}, but room for {inodes.f_favail:,} more files only", cure)
    return Finding("disk", "ok", seen)


def _clock(root: Path) -> Finding:
    now = datetime.now().astimezone()
    seen = f"{now:%Y-%m-%d %H:%M} {now.tzname()}"
    cure = "Set the clock (timedatectl): records, tables and `--until` go by it."
    if not BORN <= now.year <= LAST:
        return Finding("clock", "fault", f"{seen}: no such year can be", cure)
    stamps = (re.match(r"(\d{4}-\d\d-\d\d)_(\d\d)-(\d\d)-\d\d.*\.json$", name) for name in _names(root / "runs"))
    newest = max((f"{found[1]} {found[2]}:{found[3]}" for found in stamps if found), default="")
    if newest > f"{now:%Y-%m-%d %H:%M}":
        return Finding("clock", "fault", f"{seen}, but a run began at {newest}", cure)
    return Finding("clock", "ok", seen)


def _published(project: Path) -> dict[str, str]:
    """The SHA-256 of weights files by name, where this was installed from a bundle that had them."""
    if not (project / KEPT).is_file():
        return {}
    files = Manifest.read(project / KEPT).files
    return {path.rsplit("/", 1)[1]: sha256 for path, (_, sha256) in files.items() if path.startswith(f"{WEIGHTS}/")}


def _entries(folder: Path) -> list[Path]:
    """The folders in it; a box may be a link to one."""
    return [folder / name for name in _names(folder) if os.path.isdir(folder / name)]  # which raises nothing


def _names(folder: Path) -> list[str]:
    """What lies in it, as far as one may look."""
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
