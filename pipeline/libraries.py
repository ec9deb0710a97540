"""Tell a library that cannot be loaded from a document that cannot be read, and name what to install.

An environment that lacks a library fails on every document, so it stops the run (exit code 3). `fault` finds it behind
any exception: an ImportError, or whatever was raised while a module was being executed, such as the OSError of the
system's loader. No document can cause that: code of a module does not see documents.
"""

import importlib
import re
from collections.abc import Iterator
from types import TracebackType

from pipeline.errors import LibraryError

WORKERS = (  # what guarded workers load: module, and the package that has it
    ("numpy", "numpy"),
    ("cv2", "opencv-python-headless"),
    ("PIL._imaging", "pillow"),
    ("PIL._webp", "pillow"),
    ("pillow_heif", "pillow-heif"),
    ("pypdfium2", "pypdfium2"),
    ("onnxruntime", "onnxruntime"),
)
PACKAGES = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "pillow_heif": "pillow-heif",
    "pypdfium2_raw": "pypdfium2",
    "pypdfium2_cfg": "pypdfium2",
    "_pillow_heif": "pillow-heif",
    "yaml": "pyyaml",
}
DEBIAN = {  # packages of Debian and Ubuntu that have a library
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libgomp.so.1": "libgomp1",
    "libstdc++.so.6": "libstdc++6",
    "libz.so.1": "zlib1g",
}
HEADLESS = (
    "opencv-python and opencv-contrib-python need a display's libraries and overwrite opencv-python-headless, which "
    "needs none: pip uninstall -y opencv-python opencv-contrib-python, then "
    "pip install --force-reinstall --no-deps opencv-python-headless"
)
_SHARED_OBJECT = re.compile(r"\blib[\w.+-]*\.so(?:\.\d+)*|\b[\w.+-]+\.(?:dylib|dll)\b")


def fault(error: BaseException) -> LibraryError | None:
    """The library fault behind an exception or behind what led to it, with its cure; None where there is none."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, LibraryError):
            return cause
        module = _executing(cause.__traceback__)
        if isinstance(cause, ImportError) or module:
            return _told(cause, getattr(cause, "name", None) or module or "")
        cause = cause.__cause__ or cause.__context__
    return None


def load(module: str) -> str:
    """Imports a module; returns its version, or "". Raises LibraryError."""
    try:
        loaded = importlib.import_module(module)
    except Exception as error:
        raise fault(error) or LibraryError(f"{module} cannot be loaded: {error}") from error
    return str(getattr(loaded, "__version__", ""))


def _executing(trace: TracebackType | None) -> str:
    """The module whose own code was running when it was raised: the innermost one, or ""."""
    found = ""
    for frame in _frames(trace):
        if frame.tb_frame.f_code.co_name == "<module>":
            found = str(frame.tb_frame.f_globals.get("__name__") or "")
    return found


def _frames(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _told(error: BaseException, module: str) -> LibraryError:
    said = " ".join(str(error).split()) or type(error).__name__
    top = module.partition(".")[0]
    package = PACKAGES.get(top, top)
    if isinstance(error, ModuleNotFoundError):
        again = "Install Scanmill's packages again: pip install -e . (run_batch.py doctor names all that is missing)."
        return LibraryError(f"the package {top or '?'} is missing: {said}. {again}")
    what = f"the library {top} cannot be loaded" if top else "a library cannot be loaded"
    found = _SHARED_OBJECT.search(said)
    if found and found[0] in ("libGL.so.1", "libEGL.so.1", "libgthread-2.0.so.0") and top in ("cv2", ""):
        cure = f"{HEADLESS}. Or install the system's library: apt install {DEBIAN[found[0]]}"
    elif found and found[0] in DEBIAN:
        cure = f"Install the system's library, on Debian and Ubuntu: apt install {DEBIAN[found[0]]}"
    elif found and "cannot open shared object" in said:
        cure = f"Install the system package that has {found[0]}, or {package or 'its package'} again with pip"
    else:
        cure = f"Install it again: pip install --force-reinstall --no-deps {package or 'PACKAGE'}"
    return LibraryError(f"{what}: {said}. {cure}.")
