"""Distinguish a library that cannot be loaded from an unreadable document, and name what to install.

A missing library fails every document, so it stops the run (exit code 3). `fault` looks for it in a chain of
exceptions: an ImportError, or any error raised while a module was executed, such as the OSError of the dynamic loader.
No document can cause that, since module code does not see documents.
"""

import importlib
import re
from collections.abc import Iterator
from types import TracebackType

from pipeline.core.errors import LibraryError

WORKERS = ("numpy", "cv2", "PIL._imaging", "PIL._webp", "pillow_heif", "pypdfium2", "onnxruntime")  # what workers load
PACKAGES = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "pillow_heif": "pillow-heif",
    "pypdfium2_raw": "pypdfium2",
    "pypdfium2_cfg": "pypdfium2",
    "_pillow_heif": "pillow-heif",
    "yaml": "pyyaml",
}
DEBIAN = {  # library -> package of Debian and Ubuntu
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libgomp.so.1": "libgomp1",
    "libstdc++.so.6": "libstdc++6",
    "libz.so.1": "zlib1g",
}
DISPLAY = frozenset({"libGL.so.1", "libEGL.so.1", "libgthread-2.0.so.0"})  # needed only by builds of OpenCV with a GUI
HEADLESS = (
    "opencv-python and opencv-contrib-python need a display's libraries and overwrite opencv-python-headless, which "
    "needs none: pip uninstall -y opencv-python opencv-contrib-python; "
    "pip install --force-reinstall --no-deps opencv-python-headless."
)
_SHARED_OBJECT = re.compile(r"\blib[\w.+-]*\.so(?:\.\d+)*|\b[\w.+-]+\.(?:dylib|dll)\b")


def fault(error: BaseException) -> LibraryError | None:
    """The library error in the chain of an exception, with its cure; None where there is none."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, LibraryError):
            return cause
        module = _executing(cause.__traceback__)
        if isinstance(cause, ImportError) or module:
            return _library_error(cause, getattr(cause, "name", None) or module or "")
        cause = cause.__cause__ or cause.__context__
    return None


def load(module: str) -> str:
    """Import a module; returns its version, or "". Raises LibraryError."""
    try:
        loaded = importlib.import_module(module)
    except Exception as error:
        raise fault(error) or _library_error(error, module) from error
    return str(getattr(loaded, "__version__", ""))


def _executing(trace: TracebackType | None) -> str:
    """The innermost module whose top-level code was running, or ""."""
    found = ""
    for frame in _frames(trace):
        if frame.tb_frame.f_code.co_name == "<module>":
            found = str(frame.tb_frame.f_globals.get("__name__") or "")
    return found


def _frames(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _library_error(error: BaseException, module: str) -> LibraryError:
    text = " ".join(str(error).split()) or type(error).__name__
    top = module.partition(".")[0]
    package = PACKAGES.get(top, top)
    if isinstance(error, ModuleNotFoundError):
        again = (
            "Install Scanmill's packages again: pip install -c constraints.txt -e . "
            "(`run_batch.py doctor` names all that is missing)."
        )
        return LibraryError(f"the package {top or '?'} is missing: {text}", again)
    return LibraryError(f"the library {top or '?'} cannot be loaded: {text}", _cure(text, top, package))


def _cure(text: str, top: str, package: str) -> str:
    found = _SHARED_OBJECT.search(text)
    lacking = found[0] if found else ""
    if top == "cv2" and lacking in DISPLAY:
        return f"{HEADLESS} Or install the system's library: apt install {DEBIAN[lacking]}."
    if lacking in DEBIAN:
        return f"Install the system's library; on Debian and Ubuntu: apt install {DEBIAN[lacking]}."
    again = f"pip install --force-reinstall --no-deps {package}" if package else "pip install -c constraints.txt -e ."
    if lacking:
        return f"Install the system's package that has {lacking}, or the Python package again: {again}."
    return f"Install it again: {again}."
