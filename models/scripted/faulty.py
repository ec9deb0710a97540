"""The scripted engine with faults, for tests: on chosen documents it hangs, dies, or answers nonsense.

A reply that begins with `<hang>`, `<stop>` (stops its own process), `<die>` (SIGKILL), `<cuda>` (a GPU fault),
`<oom>` or `<lost>` (never answers) simulates that fault; `<die once>`, `<die twice>` or `<die 5>` do so that many times
and then give the rest of the reply. `<garbage>` answers nonsense. `<late>` takes a second. Files beside the script
count the faults, so that the count outlives the process.
"""

import json
import os
import re
import signal
import time
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path

from models.scripted.echo import EchoEngine, Script
from models.supervision.engine_host import Heartbeat
from pipeline.engine import Partial, Reply, Request

FAULT = re.compile(r"<(hang|stop|die|cuda|oom|lost|garbage|late)(?: (once|twice|\d{1,3}))?>")
TIMES = {"once": 1, "twice": 2, None: 1 << 30}
NONSENSE = '\x00�]]}"total": NaN, ' * 50
BATCH = 4  # requests that it holds at once, as a batching engine does


class FaultyEngine(EchoEngine):
    """For a supervised process only: its faults kill or stop the whole process."""

    @staticmethod
    def at(path: Path, heartbeat: Heartbeat) -> "FaultyEngine":
        """A `Start` for `SupervisedEngine`. Raises ModelError as `EchoEngine.from_file`."""
        return FaultyEngine(EchoEngine.from_file(path)._script, path)

    def __init__(self, script: Script, path: Path) -> None:
        super().__init__(script)
        self._counts = path.with_name(f"{path.name}.deeds")

    def answer(self, requests: Iterable[Request | None]) -> Iterator[Reply | Partial]:
        held: list[Request] = []
        for request in requests:
            if request is not None:
                held.append(request)
            if held and (request is None or len(held) == BATCH):
                yield from self._simulated(held.pop(0))
        for request in held:
            yield from self._simulated(request)

    def _simulated(self, request: Request) -> Iterator[Reply | Partial]:
        text = self._reply_text(request)
        fault = FAULT.match(text)
        if fault is None:
            yield from self._replies(request)
            return
        rest = text[fault.end() :]
        if not self._again(request, fault):
            yield Reply(request, rest, "stop")
            return
        _simulate(fault[1])
        if fault[1] != "lost":
            yield Reply(request, NONSENSE if fault[1] == "garbage" else rest, "stop")

    def _again(self, request: Request, fault: "re.Match[str]") -> bool:
        """Whether the fault is to happen once more; it is counted before it happens."""
        most = TIMES.get(fault[2]) or int(fault[2])
        self._counts.mkdir(exist_ok=True)
        count = self._counts / sha256(f"{fault[0]} {request.document.name}".encode()).hexdigest()[:16]
        with count.open("ab") as file:
            if file.tell() >= most:
                return False
            file.write(b".")
        return True


def _simulate(fault: str) -> None:
    """Hang, stop or kill this process, raise, or wait; nothing for faults that are a reply or the lack of one."""
    match fault:
        case "hang":
            while True:
                time.sleep(60)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "cuda":
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        case "oom":
            raise MemoryError("out of memory, as scripted")
        case "late":
            time.sleep(1.0)


def scripted(path: Path) -> bool:
    """Whether the script at `path` holds any fault."""
    try:
        script = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(script, dict) and any(isinstance(text, str) and FAULT.match(text) for text in script.values())
