"""The scripted engine at its worst, for tests and drills: on chosen documents it hangs, dies, or answers nonsense.

A reply that begins with `<hang>`, `<stop>` (stops its own process), `<die>` (SIGKILL), `<cuda>` (a fault of the card),
`<oom>` or `<lost>` (never answers) does that; `<die once>`, `<die twice>` or `<die 5>` do so that many times and then
give the rest of the reply. `<garbage>` answers nonsense. `<late>` takes a second. The times are counted by files beside
the script, so that they outlive the process.
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

DEED = re.compile(r"<(hang|stop|die|cuda|oom|lost|garbage|late)(?: (once|twice|\d{1,3}))?>")
TIMES = {"once": 1, "twice": 2, None: 1 << 30}
NONSENSE = '\x00�]]}"total": NaN, ' * 50
HAND = 4  # requests that it holds at once, as an engine does that answers several side by side


class FaultyEngine(EchoEngine):
    """Only ever inside of a supervisor: what it does to itself it would do to its process."""

    @staticmethod
    def at(path: Path, pulse: Heartbeat) -> "FaultyEngine":
        """For `Supervised`. Raises ModelError as `Echo.from_file`."""
        return FaultyEngine(EchoEngine.from_file(path)._script, path)

    def __init__(self, script: Script, path: Path) -> None:
        super().__init__(script)
        self._counts = path.with_name(f"{path.name}.deeds")

    def answer(self, requests: Iterable[Request | None]) -> Iterator[Reply | Partial]:
        hand: list[Request] = []
        for request in requests:
            if request is not None:
                hand.append(request)
            if hand and (request is None or len(hand) == HAND):
                yield from self._played(hand.pop(0))
        for request in hand:
            yield from self._played(request)

    def _played(self, request: Request) -> Iterator[Reply | Partial]:
        text = self._said(request)
        deed = DEED.match(text)
        if deed is None:
            yield from self._answered(request)
            return
        rest = text[deed.end() :]
        if not self._again(request, deed):
            yield Reply(request, rest, "stop")
            return
        _commit(deed[1])
        if deed[1] != "lost":
            yield Reply(request, NONSENSE if deed[1] == "garbage" else rest, "stop")

    def _again(self, request: Request, deed: "re.Match[str]") -> bool:
        """Whether the deed is to be done once more; it is counted before it is done."""
        most = TIMES.get(deed[2]) or int(deed[2])
        self._counts.mkdir(exist_ok=True)
        count = self._counts / sha256(f"{deed[0]} {request.document.name}".encode()).hexdigest()[:16]
        with count.open("ab") as file:
            if file.tell() >= most:
                return False
            file.write(b".")
        return True


def _commit(fault: str) -> None:
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
    """Whether the script at `path` asks for any of it."""
    try:
        script = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(script, dict) and any(isinstance(text, str) and DEED.match(text) for text in script.values())
