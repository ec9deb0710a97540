"""The engine's process: load the engine, then answer the requests that the supervisor sends.

The engine pulls requests from a short queue that the supervisor keeps filled, so neither waits for the other. Every
message counts as a sign of life; `Heartbeat` sends one where there is no other message.
"""

import logging
import os
import pickle
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.errors import ModelError
from pipeline.core.types import Page
from pipeline.engine import PARTIAL_LETTERS, Engine, PageSpec, Partial, Reply, Request
from pipeline.system import missing_library
from pipeline.system.ipc import Message, MessageKind, receive, send
from pipeline.system.worker_process import guard

if TYPE_CHECKING:
    from pipeline.schema.job import Job

OOM_SCORE = 500  # killed after the decoders and before the run itself, because it can be restarted
REPLY_FIELDS = tuple(each.name for each in fields(Reply) if each.name != "request")  # sent back to the supervisor
REASON_CHARS = 600


class Heartbeat:
    """Called by the engine between its steps; sends a message at most every `every_s` seconds."""

    def __init__(self, channel: socket.socket, every_s: float) -> None:
        self._channel, self._every_s, self._last = channel, every_s, 0.0

    def __call__(self) -> None:
        if (now := time.monotonic()) - self._last >= self._every_s:
            self._last = now
            send(self._channel, MessageKind.ALIVE, 0, None)


Start = Callable[[Heartbeat], Engine]  # importable in a fresh process; raises ModelError where the engine cannot run


class EngineInfo(NamedTuple):
    """What the supervisor needs to know about the engine."""

    name: str
    page_spec: PageSpec
    provenance: Mapping[str, str]


def serve_engine(descriptor: int, parent: int) -> None:
    """Entry point of the engine's process. It ends when the supervisor closes the channel."""
    guard(parent, OOM_SCORE)
    channel = socket.socket(fileno=descriptor)
    channel.set_inheritable(False)
    first = receive(channel)
    if first is None:
        os._exit(0)
    log = logging.getLogger("scanmill")
    log.addHandler(_LogForwarder(channel))
    log.setLevel(logging.INFO)
    try:
        start, every_s = first.load()
        heartbeat = Heartbeat(channel, every_s)
        engine: Engine = start(heartbeat)
        send(channel, MessageKind.READY, 0, EngineInfo(engine.name, engine.page_spec, dict(engine.provenance())))
    except Exception as error:  # noqa: BLE001 - it is raised in the supervisor
        send(channel, MessageKind.NO_START, 0, _picklable(error))
        os._exit(1)
    host = EngineHost(channel, engine, heartbeat)
    try:
        while (message := receive(channel)) is not None:
            host.handle(message)
    except ModelError as error:  # the engine itself reports that it cannot go on
        send(channel, MessageKind.UNFIT, 0, _picklable(error))
    except BaseException as error:  # noqa: BLE001 - a GPU fault stays with its process, so a new one is needed
        if missing := missing_library.fault(error):  # it would be missing in a new process too
            send(channel, MessageKind.UNFIT, 0, missing)
        else:
            send(channel, MessageKind.BROKEN, 0, _reason(error))
    os._exit(0)  # skip the clean-up of libraries: it hangs after a GPU fault


class EngineHost:
    """`queue` holds requests that were not pulled yet, `given` those that the engine has, by identity."""

    def __init__(self, channel: socket.socket, engine: Engine, heartbeat: Heartbeat) -> None:
        self.channel, self.engine, self.heartbeat = channel, engine, heartbeat
        self.poll = select.poll()
        self.poll.register(channel, select.POLLIN)
        self.free = select.poll()
        self.free.register(channel, select.POLLOUT)
        self.queue: deque[tuple[int, Request]] = deque()
        self.given: dict[int, tuple[int, Request]] = {}
        self.pages: tuple[Page, ...] = ()
        self.ended = False

    def handle(self, message: Message) -> None:
        match message.kind:
            case MessageKind.UNSUPPORTED:
                job: Job = message.load()
                send(self.channel, MessageKind.UNSUPPORTED, 0, self.engine.unsupported_reason(job))
            case MessageKind.BEGIN:
                self.answer()
            case MessageKind.ASK:
                request, pages = message.load()
                self.pages = self.pages if pages is None else pages  # None: the same as before
                self.queue.append((message.number, replace(request, pages=self.pages)))
            case MessageKind.END:
                self.ended = True

    def answer(self) -> None:
        self.ended = False
        for reply in self.engine.answer(self.requests()):
            if reply is None:
                self.heartbeat()
                continue
            if id(reply.request) not in self.given:
                raise RuntimeError("the engine gave a reply without a request")
            if isinstance(reply, Partial):
                self.send_partial(reply)
                continue
            number, _ = self.given.pop(id(reply.request))
            send(self.channel, MessageKind.REPLY, number, {name: getattr(reply, name) for name in REPLY_FIELDS})
        if self.given:
            raise RuntimeError(f"the engine ended without an answer to {len(self.given)} requests")
        self.pages = ()
        send(self.channel, MessageKind.DONE, 0, None)

    def send_partial(self, partial: Partial) -> None:
        """Send a partial reply; drop it while the channel is filling up, so that the engine never waits."""
        if self.free.poll(0):  # on Linux: less than a quarter of the buffer is used
            send(self.channel, MessageKind.PARTIAL, self.given[id(partial.request)][0], partial.text[:PARTIAL_LETTERS])

    def requests(self) -> Iterator[Request | None]:
        """What the engine pulls. Waits for the supervisor only when the engine has no request."""
        while True:
            while not self.ended and (self.poll.poll(0) or not (self.queue or self.given)):
                message = receive(self.channel)
                if message is None:
                    os._exit(0)
                self.handle(message)
            if self.queue:
                number, request = self.queue.popleft()
                self.given[id(request)] = number, request
                send(
                    self.channel, MessageKind.TAKEN, number, None
                )  # from here on this request may be the cause of a death
                yield request
            elif self.ended and not self.given:
                return
            else:
                self.heartbeat()
                yield None


class _LogForwarder(logging.Handler):
    """Forward log records to the supervisor."""

    def __init__(self, channel: socket.socket) -> None:
        super().__init__(logging.INFO)
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        send(self._channel, MessageKind.LOG, record.levelno, record.getMessage())


def _reason(error: BaseException) -> str:
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}"[:REASON_CHARS] if message else type(error).__name__


def _picklable(error: Exception) -> Any:
    """An error that can be pickled: a ModelError as it is, a missing library as LibraryError, else its message."""
    error = error if isinstance(error, ModelError) else missing_library.fault(error) or error
    if isinstance(error, ModelError):
        try:
            return pickle.loads(pickle.dumps(error))
        except Exception:  # noqa: BLE001 - an error that cannot be pickled is sent as its message
            return ModelError(str(error))
    return ModelError(f"The engine did not start: {_reason(error)}")
