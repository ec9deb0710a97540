"""A machine that lacks a library: the run stops, names it, and moves no document; the doctor names it too."""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from models.supervision.supervisor import SupervisedEngine
from pipeline.core.errors import CANNOT_RUN, LibraryError, ModelError
from pipeline.schema.settings import Settings
from pipeline.system import missing_library
from pipeline.system.process_pool import ProcessPool, once
from tests.support import engine_starts, worker_tasks
from tests.support.handmade import written
from tests.support.packages import installed
from web.data.page_images import PageImages

PROJECT = Path(__file__).parents[2]
NO_GL = "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')\n"
NO_DL = "import ctypes\nctypes.CDLL('libpdfium-of-nowhere.so.7')\n"
ONLY_DRAWING = f"""
import sys
if "pipeline.preprocessing.annotate" in sys.modules:
    {NO_GL}
sys.path.remove(__path__[0].rpartition("/")[0])
del sys.modules["cv2"]
import cv2
"""
FIND = "fields: {stamp: {type: box}}\npreprocess: []\n"


def broken(folder: Path, module: str, code: str) -> Path:
    """A folder for PYTHONPATH in which importing `module` runs `code`."""
    package = folder / "broken" / module
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(code)
    return package.parent


def called(root: Path, path: Path, *words: str, engine: str = "echo") -> subprocess.CompletedProcess[str]:
    config = {"engine": engine, "settle_s": 0, "workers": 1, "weights": "replies.json"}
    (root / "config.yaml").write_text(json.dumps(config))
    return subprocess.run(
        [sys.executable, PROJECT / "run_batch.py", *words, "--config", "config.yaml", "--root", ".", "--jobs", "jobs"],
        cwd=root, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(path)},
    )  # fmt: skip


def heic(path: Path, side: int) -> None:
    from pillow_heif import from_pillow

    from_pillow(written(side, side)).save(path.with_suffix(".heic"))


def pdf(path: Path, side: int) -> None:
    written(side, side).save(path.with_suffix(".pdf"))


def png(path: Path, side: int) -> None:
    written(side, side).save(path.with_suffix(".png"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "inbox" / "note").mkdir(parents=True)
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "note.yaml").write_text("fields: {number: {type: text}}\n")
    return tmp_path


@pytest.mark.parametrize(
    ("module", "code", "drop", "engine", "job", "names", "cure"),
    [
        ("cv2", NO_GL, png, "echo", "", "libGL.so.1", "opencv-python-headless"),
        ("onnxruntime", NO_GL.replace("GL.so.1", "gomp.so.1"), png, "ocr", "", "libgomp.so.1", "libgomp1"),
        ("pypdfium2", NO_DL, pdf, "echo", "", "libpdfium-of-nowhere.so.7", "pypdfium2"),
        ("pillow_heif", NO_GL.replace("GL.so.1", "heif.so.1"), heic, "echo", "", "libheif.so.1", "pillow-heif"),
        ("cv2", ONLY_DRAWING, png, "echo", FIND, "libGL.so.1", "opencv-python-headless"),
    ],
    ids=["decoders", "OCR", "PDF", "HEIC", "drawing"],
)
def test_a_library_that_does_not_load_stops_the_run_and_no_document_moves(
    root: Path, module: str, code: str, drop: Callable[[Path, int], None], engine: str, job: str, names: str, cure: str
) -> None:
    if job:
        (root / "jobs" / "note.yaml").write_text(job)
        (root / "replies.json").write_text(json.dumps({"*": '{"stamp": [1, 1, 20, 20]}'}))
    for side in (300, 400, 500):
        drop(root / "inbox" / "note" / f"{side}", side)
    before = sorted(path.name for path in (root / "inbox" / "note").iterdir())
    done = called(root, broken(root, module, code), "run", engine=engine)
    assert done.returncode == CANNOT_RUN, done.stderr
    assert names in done.stderr
    assert cure in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in (root / "inbox" / "note").iterdir()) == before
    for folder in ("failed", "done", "duplicate", "records"):
        assert not [path for path in root.glob(f"{folder}/**/*") if path.is_file()]
    (run_report,) = root.glob("runs/*.json")
    told = json.loads(run_report.read_text())
    assert not told["faults"]
    assert told["counts"]["given_back"] == told["counts"]["taken"] > 0
    assert names in "".join(told["notes"])


@pytest.mark.parametrize("module", ["cv2", "onnxruntime", "PIL", "pypdfium2"])
def test_the_doctor_names_the_library_and_goes_on(root: Path, module: str) -> None:
    done = called(root, broken(root, module, NO_GL), "doctor", "--json", engine="ocr")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    told = json.loads(done.stdout)["findings"]
    faults = [each for each in told if each["check"] == "libraries" and each["state"] == "fault"]
    assert faults
    assert all("libGL.so.1" in each["seen"] and each["cure"] for each in faults)
    assert module in "".join(each["seen"] for each in faults)
    assert [each for each in told if each["check"] == "OCR models"]  # it went on to the end


def test_the_doctor_names_what_the_check_of_a_brought_engine_lacks(root: Path) -> None:
    module = """
from pipeline.plugins.engines import EngineFactory
class Brought(EngineFactory):
    name = "brought"
    @classmethod
    def check(cls, context):
        import no_such_library
    @classmethod
    def open(cls, settings):
        raise AssertionError
"""
    points = {"scanmill.engines": {"brought": "acme_brought:Brought"}}
    site = installed(root / "site", "acme", points, {"acme_brought.py": module})
    done = called(root, site, "doctor", "--json", engine="brought")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [each for each in json.loads(done.stdout)["findings"] if each["check"] == "brought"]
    assert line["state"] == "fault"
    assert "the package no_such_library is missing" in line["seen"]
    assert line["cure"]


def test_the_page_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    png(tmp_path / "a", 300)
    monkeypatch.syspath_prepend(str(broken(tmp_path, "cv2", NO_GL)))
    scans = PageImages(Settings())
    try:
        with pytest.raises(ModelError, match=r"libGL\.so\.1"):
            scans.page(tmp_path / "a.png")
    finally:
        scans.close()


def test_an_engine_that_lacks_a_library_is_not_started_again() -> None:
    with pytest.raises(ModelError, match=r"libGL\.so\.1.*opencv-python-headless"):
        SupervisedEngine(engine_starts.lacks_a_library, step_s=20)
    engine = SupervisedEngine(engine_starts.lacks_a_library_later, step_s=20)
    with pytest.raises(ModelError, match=r"libGL\.so\.1"):
        list(engine.answer([engine_starts.question("a")]))
    assert engine.pid is None


def test_words_of_a_document_are_no_missing_library() -> None:
    text = "libGL.so.1: cannot open shared object file"
    with ProcessPool(1, seconds=60, memory_mib=256) as pool:
        task = pool.submit(worker_tasks.damaged, text)
        pool.wait()
        with pytest.raises(OSError, match=r"libGL\.so\.1"):
            task.result()
    assert missing_library.fault(OSError(text)) is None


def test_a_library_is_found_behind_what_a_decoder_made_of_it() -> None:
    with pytest.raises(LibraryError, match="the package no_such_decoder is missing"):
        once(worker_tasks.hide_a_missing_package)


@pytest.mark.skipif(sys.platform != "linux", reason="asks the loader of Linux")
def test_opencv_needs_no_library_of_a_display() -> None:
    """Of a fresh installation; where opencv-python lies beside it, the doctor warns."""
    import cv2

    if libraries_of_windows := [name for name in ("opencv-python", "opencv-contrib-python") if _installed(name)]:
        pytest.skip(f"{libraries_of_windows} lies beside opencv-python-headless here")
    (library,) = Path(cv2.__file__).parent.glob("cv2*.so")
    needs = subprocess.run(["ldd", library], capture_output=True, text=True, check=True).stdout
    assert not [line for line in needs.splitlines() if "libGL" in line or "libX11" in line or "libxcb" in line]


def test_no_dependency_brings_opencv_with_windows() -> None:
    """Of all packages that the base needs, as installed here."""
    told = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]
    waiting, seen, asked = [Requirement(line).name for line in told], set(), {}
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        for line in distribution(name).requires or ():
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                asked[need.name.lower().replace("_", "-")] = name
                waiting.append(need.name)
    assert "opencv-python-headless" in seen
    assert not {"opencv-python", "opencv-contrib-python"} & seen, asked


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False
