"""Do the libraries of guarded workers load? Each is tried in a guarded process, where a crash costs nothing."""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from pipeline import libraries
from pipeline.errors import LibraryError, ModelError
from pipeline.finding import Finding
from pipeline.worker import WorkerError
from pipeline.workers import Pool

RIVALS = ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")  # they write the same files


def findings() -> Iterator[Finding]:
    """A fault for each library that does not load, or one line about all; then OpenCV's package and its font."""
    faults, seen = {}, []
    with Pool(1, seconds=120, memory_mib=4096, ahead=0) as pool:
        tasks = {module: pool.submit(libraries.load, module) for module in libraries.WORKERS}
        font = pool.submit(opencv)
        while pool.in_flight:
            pool.wait()
    for module, task in tasks.items():
        try:
            seen.append(f"{module} {task.result()}".strip())
        except LibraryError as error:
            faults[module] = Finding("libraries", "fault", error.what, error.cure)
        except (ModelError, WorkerError) as error:  # it crashed, or ran out of time or memory
            cure = "It may not be made for this processor or system. Install it again, or an older version."
            faults[module] = Finding("libraries", "fault", f"{module}, when it is loaded: {error}", cure)
    yield from faults.values()
    if not faults:
        yield Finding("libraries", "ok", f"all that workers need load: {', '.join(seen)}")
    if rivals := [name for name in RIVALS if _installed(name)]:
        seen_there = f"{', '.join(rivals)} beside opencv-python-headless: the one installed last holds the files of cv2"
        yield Finding("libraries", "warning", seen_there, libraries.HEADLESS)
    if "cv2" not in faults:
        yield _fonts(*font.result())


def opencv() -> tuple[str, bool]:
    """In a process: OpenCV's version, and whether it has a font that letters Chinese."""
    import cv2

    return cv2.__version__, hasattr(cv2, "FontFace")


def _fonts(release: str, has_font: bool) -> Finding:
    """Marked pictures are lettered with the font inside OpenCV 5, which has Chinese letters."""
    seen = f"OpenCV {release}"
    if has_font:
        return Finding("fonts", "ok", f"{seen} brings its own, for marked pictures; none of the system is needed")
    cure = "pip install --upgrade opencv-python-headless; without it no marked pictures can be drawn."
    return Finding("fonts", "fault", f"{seen} has no font that letters Chinese", cure)


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False
