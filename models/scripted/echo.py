"""The scripted engine of tests, benchmarks and dry runs: fixed replies, no model."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from pipeline.core.errors import ModelError
from pipeline.engine import Finish, PageSpec, Partial, Reply, Request
from pipeline.schema.job import Job

Script = Mapping[str, str] | Callable[[Request], str]
SLOWLY, PIECES, PAUSE_S = "<slowly>", 10, 0.4
_FINISHES: dict[str, Finish] = {"<length>": "length", "<error>": "error"}


class EchoEngine:
    """Answers by document name, then by document id, then by "*"; or by a function of the request.

    A reply that begins with `<length>` comes back as cut off, one that begins with `<error>` as the engine's failure.
    One that begins with `<slowly>` takes 4 seconds and is sent in pieces where the request is watched.
    `page_spec` is that of Qwen2.5-VL, so that pages take the same time to prepare.
    """

    name = "echo"
    page_spec = PageSpec(multiple_px=28, max_pixels=1280 * 28 * 28, window_pages=4, high_resolution_scale=2.0)

    def __init__(self, script: Script) -> None:
        self._script = script

    @staticmethod
    def from_file(path: Path) -> "EchoEngine":
        """From a JSON object of replies by document name. Raises ModelError for any other file."""
        try:
            script = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"{path}: the echo engine needs a JSON file of replies there ({error})") from None
        if not isinstance(script, dict) or not all(isinstance(text, str) for text in script.values()):
            raise ModelError(f"{path}: the echo engine needs one JSON object, document name to reply text")
        return EchoEngine(script)

    def unsupported_reason(self, job: Job) -> str | None:
        return None

    def answer(self, requests: Iterable[Request | None]) -> Iterator[Reply | Partial]:
        for request in requests:
            if request is not None:
                yield from self._replies(request)

    def _replies(self, request: Request) -> Iterator[Reply | Partial]:
        text = self._script(request) if callable(self._script) else self._reply_text(request)
        if text.startswith(SLOWLY):
            text = text.removeprefix(SLOWLY)
            for piece in range(1, PIECES):
                time.sleep(PAUSE_S)
                if request.watched:
                    yield Partial(request, text[: len(text) * piece // PIECES])
        yield _reply(request, text)

    def _reply_text(self, request: Request) -> str:
        assert isinstance(self._script, Mapping)
        for key in (request.document.name, request.document.id, "*"):
            if key in self._script:
                return self._script[key]
        return "{}" if request.schema is not None else ""

    def provenance(self) -> Mapping[str, str]:
        return {"engine": "echo"}

    def close(self) -> None:
        pass


def _reply(request: Request, text: str) -> Reply:
    for mark, finish in _FINISHES.items():
        if text.startswith(mark):
            rest = text.removeprefix(mark)
            return Reply(request, rest, finish, error=(rest or "scripted") if finish == "error" else None)
    return Reply(request, text, "stop")
