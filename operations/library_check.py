"""Check that the libraries of guarded workers load. Each is tried in a guarded process, because it may crash."""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from pipeline.core.check_result import CheckResult
from pipeline.core.errors import LibraryError, ModelError
from pipeline.system import missing_library
from pipeline.system.process_pool import ProcessPool
from pipeline.system.worker_process import WorkerError

CONFLICTING = ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")  # they write the same files


def findings() -> Iterator[CheckResult]:
    """A fault for each library that does not load, or one result for all; then the OpenCV packages and font."""
    faults, seen = {}, []
    with ProcessPool(1, seconds=120, memory_mib=4096, ahead=0) as pool:
        tasks = {module: pool.submit(missing_library.load, module) for module in missing_library.WORKERS}
        font = pool.submit(opencv)
        while pool.in_flight:
            pool.wait()
    for module, task in tasks.items():
        try:
            seen.append(f"{module} {task.result()}".strip())
        except LibraryError as error:
            faults[module] = CheckResult("libraries", "fault", error.what, error.cure)
        except (ModelError, WorkerError) as error:  # it crashed, or ran out of time or memory
            cure = "It may not support this processor or system. Install it again, or an older version."
            faults[module] = CheckResult("libraries", "fault", f"{module}, when it is loaded: {error}", cure)
    yield from faults.values()
    if not faults:
        yield CheckResult("libraries", "ok", f"all that workers need load: {', '.join(seen)}")
    if conflicts := [name for name in CONFLICTING if _installed(name)]:
        seen_there = (
            f"{', '.join(conflicts)} beside opencv-python-headless: the one installed last holds the files of cv2"
        )
        yield CheckResult("libraries", "warning", seen_there, missing_library.HEADLESS)
    if "cv2" not in faults:
        yield _fonts(*font.result())


def opencv() -> tuple[str, bool]:
    """Runs in a worker: the version of OpenCV, and whether it has a font with Chinese letters."""
    import cv2

    return cv2.__version__, hasattr(cv2, "FontFace")


def _fonts(release: str, has_font: bool) -> CheckResult:
    """Labels in pictures are drawn with the font of OpenCV 5, which has Chinese letters."""
    seen = f"OpenCV {release}"
    if has_font:
        return CheckResult("fonts", "ok", f"{seen} brings its own, for marked pictures; none of the system is needed")
    cure = "pip install --upgrade opencv-python-headless; without it no marked pictures can be drawn."
    return CheckResult("fonts", "fault", f"{seen} has no font that letters Chinese", cure)


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False
