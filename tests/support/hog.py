"""Starts run_batch.py with a scripted engine whose first answer wants more memory than a process may have."""

import runpy
import sys
from collections.abc import Iterable, Iterator

from models.scripted.echo import EchoEngine
from pipeline.engine import Reply, Request


def answer(self: EchoEngine, requests: Iterable[Request | None]) -> Iterator[Reply]:
    for request in requests:
        if request is not None:
            yield Reply(request, bytearray(1 << 40).decode(), "stop")


if __name__ == "__main__":
    EchoEngine.answer = answer  # type: ignore[method-assign]
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
