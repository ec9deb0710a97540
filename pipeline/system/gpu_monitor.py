"""Ask nvidia-smi about the first GPU that this process may use: once (`query`), or regularly (`GpuMonitor`)."""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

EVERY_S = 5
QUERY_S = 30.0  # a driver that has not answered by then hangs
KILL_S = 10.0  # for nvidia-smi to end after it was killed


class GpuQueryError(Exception):
    """nvidia-smi gave no usable answer. The text is a phrase that says why."""


def query(*fields: str) -> list[str] | None:
    """The values of `fields` (names of `nvidia-smi --query-gpu`). None without nvidia-smi. Raises GpuQueryError."""
    command = _command(fields)
    if command is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=QUERY_S, check=False)
    except subprocess.TimeoutExpired:
        raise GpuQueryError("the driver does not answer; restart the machine") from None
    values = _values(done.stdout.partition("\n")[0])
    if len(values) != len(fields):
        message = (done.stdout + done.stderr).strip().split("\n")[0]
        raise GpuQueryError(f"nvidia-smi says: {message or 'nothing'}")
    return values


class GpuMonitor:
    """`with GpuMonitor(on_sample):` calls `on_sample(second, share)` every few seconds, from its own thread.

    `second` counts from the entry, `share` is the part of the time (0 to 1) in which the GPU was busy. There are no
    samples without nvidia-smi, nor for a GPU that does not report its load (a MIG slice).
    """

    def __init__(self, on_sample: Callable[[float, float], None], every_s: int = EVERY_S) -> None:
        self._on_sample, self._every_s = on_sample, every_s
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if command := _command(("utilization.gpu",)):
            self._process = subprocess.Popen(
                [*command, f"--loop={self._every_s}"],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
            self._thread = threading.Thread(target=self._read, args=(self._process,), daemon=True)
            self._thread.start()
        return self

    def _read(self, process: "subprocess.Popen[str]") -> None:
        started = time.monotonic()
        assert process.stdout is not None
        for line in process.stdout:
            (percent, *_) = _values(line)
            if percent.isdecimal():
                self._on_sample(time.monotonic() - started, min(1.0, int(percent) / 100))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._thread is not None:
            self._process.kill()
            try:
                self._process.wait(KILL_S)
            except subprocess.TimeoutExpired:
                return  # it hangs in the driver, as it does when a GPU fails; the run must not hang with it
            self._thread.join()
            assert self._process.stdout is not None
            self._process.stdout.close()


def _command(fields: tuple[str, ...]) -> list[str] | None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0] or "0"
    return [program, f"--id={gpu}", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]


def _values(line: str) -> list[str]:
    return [value.strip() for value in line.split(",")]
