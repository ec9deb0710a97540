"""What the tests of pipeline.system.process_pool run in real worker processes."""

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import DocumentError


def same(value: Any) -> Any:
    return value


def brighten(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image += 1  # in place: what arrives is the worker's own
    return image


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def wait_for(path: str, begun: str | None = None) -> str:
    """End when the file `path` is there; create the file `begun` first."""
    if begun:
        Path(begun).touch()
    while not Path(path).exists():
        time.sleep(0.01)
    return path


def crash() -> None:
    ctypes.string_at(0)


def leave() -> None:
    os._exit(3)


def spin() -> NoReturn:
    while True:
        pass


def take_memory(mib: int) -> int:
    return len(np.ones((mib, 1024, 1024), np.uint8))


def refuse(code: str, detail: str) -> None:
    raise DocumentError(code, detail)


def without_heif() -> None:
    """For a pool's `start`: a machine on which one decoder is not installed."""
    sys.modules["pillow_heif"] = None  # type: ignore[assignment]


class Sticky(Exception):
    """Cannot be made again from its args, so it cannot cross processes as it is."""

    def __init__(self, left: str, right: str) -> None:
        super().__init__(left + right)


def stick() -> None:
    raise Sticky("glued ", "together")


def quit_python() -> None:
    sys.exit("enough")


def pid() -> int:
    return os.getpid()


def speak() -> None:
    print("on stdout")  # noqa: T201
    print("on stderr", file=sys.stderr)  # noqa: T201
    os.write(1, b"raw\n")


def fail_to_start() -> None:
    raise FileNotFoundError("the weights are not there")


def crash_at_start() -> None:
    ctypes.string_at(0)


def remember_start() -> None:
    os.environ["STARTED"] = "yes"


def was_started() -> str | None:
    return os.environ.get("STARTED")


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def start_grandchild() -> int:
    return subprocess.Popen(["sleep", "60"]).pid


def hold_a_pool(report: str) -> None:
    """A parent to be killed: it writes its workers' ids into `report`, then works without end."""
    from pipeline.system.process_pool import ProcessPool

    pool = ProcessPool(2, seconds=100, memory_mib=256)
    pool.submit(pid)
    pool.wait()
    pool.submit(spin)
    Path(report).write_text(" ".join(map(str, pool.pids)))
    while True:
        pool.wait()


def damaged(words: str) -> None:
    """What a decoder may raise that quotes the document."""
    raise OSError(words)


def hide_a_missing_package() -> None:
    try:
        import no_such_decoder  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        raise DocumentError("broken", "the picture cannot be opened") from None
