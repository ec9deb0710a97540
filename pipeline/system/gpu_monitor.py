"""Sample the GPU's utilization during a run, by nvidia-smi; does nothing where there is none."""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

EVERY_S = 5
END_S = 10.0  # to wait for nvidia-smi to end


class GpuMonitor:
    """`with GpuMonitor(report):` calls `report(second, share)` every `every_s` seconds from a thread.

    `second` counts from the entry; `share` is the part of the time (0 to 1) in which the GPU was busy. Nothing is
    reported for a card without this figure, such as a MIG slice.
    """

    def __init__(self, report: Callable[[float, float], None], every_s: int = EVERY_S) -> None:
        self._report, self._every_s = report, every_s
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if program := shutil.which("nvidia-smi"):
            card = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0] or "0"
            query = [f"--id={card}", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
            self._process = subprocess.Popen(
                [program, *query, f"--loop={self._every_s}"],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
            self._thread = threading.Thread(target=self._listen, args=(self._process,), daemon=True)
            self._thread.start()
        return self

    def _listen(self, process: "subprocess.Popen[str]") -> None:
        began = time.monotonic()
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip().isdecimal():
                self._report(time.monotonic() - began, min(1.0, int(line) / 100))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._thread is not None:
            self._process.kill()
            try:
                self._process.wait(END_S)
            except subprocess.TimeoutExpired:
                return  # it hangs in the driver, as when a card fails; the run must not hang with it
            self._thread.join()
            assert self._process.stdout is not None
            self._process.stdout.close()
