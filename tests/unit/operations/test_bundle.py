"""`bundle` and `bundle_install`: what is gathered, what is kept at an update, and which files are refused."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from operations import bundle
from operations.bundle_install import KEPT, PROJECT, WEIGHTS, copy, install
from operations.bundle_manifest import NAME, BundleError, Machine, Manifest
from operations.progress import Steps
from pipeline.core.errors import ConfigError
from pipeline.system.filesystem import sha256_of

HERE = Path(__file__).parents[3]
LEFT_AT_HOME = ("tests/", "benchmarks/", "tests/stress/", ".ci/", ".gitignore")


def bundled(folder: Path, files: dict[str, str], machine: Machine | None = None) -> Manifest:
    """A bundle of these files, without any wheel."""
    for path, text in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    told = {path: ((folder / path).stat().st_size, sha256_of(folder / path)) for path in files}
    manifest = Manifest("0.1.0", "2026-11-22T00:00:00+00:00", machine or Machine.here(), (), {}, None, told)
    manifest.write(folder)
    return manifest


def test_all_that_git_keeps_goes_in_but_tests_and_trials() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=HERE, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    kept = {path for path in listed.stdout.decode().split("\0") if path and (HERE / path).is_file()}
    wanted = {path for path in kept if not path.startswith(LEFT_AT_HOME)}
    found = set(bundle.project_files(HERE))
    assert wanted <= found
    assert not {path for path in found if "__pycache__" in path or "/.git" in path or path.startswith("data/")}


def test_extras_and_build_needs_are_asked_for_and_unknown_ones_named() -> None:
    base = bundle.requirements(HERE / "pyproject.toml", [])
    more = bundle.requirements(HERE / "pyproject.toml", ["gpu", "flash"])
    assert any(line.startswith("setuptools") for line in base)
    assert {line.split(">")[0] for line in more} >= {"torch", "flash-attn", "numpy"}
    assert not any(line.startswith("scanmill") for line in bundle.requirements(HERE / "pyproject.toml", ["test"]))
    with pytest.raises(ConfigError, match="did you mean flash"):
        bundle.requirements(HERE / "pyproject.toml", ["flas"])


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("letter")
    with Steps() as steps, pytest.raises(ConfigError, match="not empty"):
        bundle.gather(HERE, tmp_path, [], None, Path(sys.executable), [], steps)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_failing_pip_leaves_no_bundle_and_its_own_words(tmp_path: Path) -> None:
    options = ["--isolated", "--no-index"]
    with Steps() as steps, pytest.raises(BundleError, match=r"(?s)pip could not build the wheels.*ERROR.*numpy"):
        bundle.gather(HERE, tmp_path / "b", [], None, Path(sys.executable), options, steps)
    assert not (tmp_path / "b").exists()


def test_what_was_damaged_on_the_way_is_named(tmp_path: Path) -> None:
    manifest = bundled(tmp_path, {"wheels/a.whl": "aaaa", "wheels/b.whl": "bbbb", "wheels/c.whl": "c", "x": "same"})
    assert list(manifest.faults(tmp_path)) == []
    (tmp_path / "wheels/a.whl").write_text("aaab")
    (tmp_path / "wheels/b.whl").write_text("bb")
    (tmp_path / "wheels/c.whl").unlink()
    assert list(Manifest.read(tmp_path / NAME).faults(tmp_path)) == [
        "wheels/a.whl has changed contents",
        "wheels/b.whl has 2 bytes instead of 4",
        "wheels/c.whl is missing",
    ]
    with pytest.raises(BundleError, match="is damaged"):
        install(tmp_path, tmp_path.parent / "never")
    assert not (tmp_path.parent / "never").exists()


@pytest.mark.parametrize("text", ["", "[]", '{"version": 1}', "{"])
def test_a_manifest_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(BundleError, match="cannot be read"):
        Manifest.read(tmp_path / NAME)


def test_another_python_or_machine_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    other = replace(Machine.here(), python="3.9", platform="linux-riscv64")
    bundled(tmp_path / "b", {f"{PROJECT}/run_batch.py": "1"}, other)
    with pytest.raises(BundleError, match=r"made for Python 3\.9.*made for linux-riscv64"):
        install(tmp_path / "b", tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    bundled(tmp_path / "b", {f"{PROJECT}/run_batch.py": "1"})
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "letter").write_text("mine")
    with pytest.raises(BundleError, match="is not empty"):
        install(tmp_path / "b", tmp_path / "there")
    with pytest.raises(BundleError, match="inside the bundle"):
        install(tmp_path / "b", tmp_path / "b" / "here")


def test_an_update_replaces_code_and_keeps_what_a_person_changed(tmp_path: Path) -> None:
    there = tmp_path / "there"
    first = {"jobs/a.yaml": "a1", "jobs/b.yaml": "b1", "pipeline/old.py": "old", "run_batch.py": "1"}
    old = bundled(tmp_path / "1", {f"{PROJECT}/{path}": text for path, text in first.items()})
    assert copy(tmp_path / "1", there, old, {}) == []
    (there / "jobs/a.yaml").write_text("mine")
    (there / "jobs/own.yaml").write_text("own")
    second = {f"{PROJECT}/jobs/a.yaml": "a2", f"{PROJECT}/jobs/b.yaml": "b2", f"{PROJECT}/jobs/own.yaml": "theirs",
              f"{PROJECT}/run_batch.py": "2", f"{WEIGHTS}/qwen/config.json": "w", "wheels/x.whl": "x"}  # fmt: skip
    kept = copy(tmp_path / "2", there, bundled(tmp_path / "2", second), old.files)
    assert sorted(kept) == ["jobs/a.yaml", "jobs/own.yaml"]
    found = {path.relative_to(there).as_posix(): path.read_text() for path in there.rglob("*") if path.is_file()}
    assert found == {
        "jobs/a.yaml": "mine", "jobs/a.yaml.new": "a2", "jobs/b.yaml": "b2", "jobs/own.yaml": "own",
        "jobs/own.yaml.new": "theirs", "run_batch.py": "2", "models/qwen/config.json": "w",
    }  # fmt: skip


def test_the_manifest_tells_its_own_digest(tmp_path: Path) -> None:
    manifest = bundled(tmp_path, {"a": "a"})
    assert manifest.write(tmp_path) == sha256_of(tmp_path / NAME)
    assert json.loads((tmp_path / NAME).read_text())["kind"] == "bundle"
    assert Manifest.read(tmp_path / NAME) == manifest
    assert KEPT.startswith(".")


def test_weights_go_on_where_a_cut_off_copy_stopped(tmp_path: Path) -> None:
    source, target = tmp_path / "weights", tmp_path / "b.partial" / "weights"
    (source / ".cache").mkdir(parents=True)
    for name in ("config.json", "one.safetensors", "two.safetensors", ".cache/note"):
        (source / name).write_text(name * 100)
    with Steps() as steps:
        bundle.copy_weights(source, target, steps)
    written = (target / "one.safetensors").stat().st_ctime_ns
    (target / "two.safetensors").write_text("cut")
    (target / "old.safetensors").write_text("of another model")
    with Steps() as steps:
        bundle.copy_weights(source, target, steps)
    found = {path.name: path.read_text() for path in target.rglob("*") if path.is_file()}
    assert found == {name: name * 100 for name in ("config.json", "one.safetensors", "two.safetensors")}
    assert (target / "one.safetensors").stat().st_ctime_ns == written
