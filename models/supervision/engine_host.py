"""An engine's own process, seen from inside: it loads the engine, then answers what the supervisor sends.

The engine pulls requests as ever; what it pulls from is a short queue that the supervisor keeps filled, so neither
waits for the other. Every message is also a sign of life, and `Pulse` gives one where there is nothing else to say.
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

OOM_SCORE = 500  # the engine goes after the decoders and before the run itself: it can be started again
REPLY_FIELDS = tuple(each.name for each in fields(Reply) if each.name != "request")  # what travels back
WORDS = 600  # characters of a reason


class Heartbeat:
    """Called often, by the engine between its steps; tells the supervisor at most every `every_s` seconds."""

    def __init__(self, channel: socket.socket, every_s: float) -> None:
        self._channel, self._every_s, self._last = channel, every_s, 0.0

    def __call__(self) -> None:
        if (now := time.monotonic()) - self._last >= self._every_s:
            self._last = now
            send(self._channel, MessageKind.ALIVE, 0, None)


Start = Callable[[Heartbeat], Engine]  # importable in a fresh process; raises ModelError where the engine cannot run


class EngineInfo(NamedTuple):
    """What the parent must know of an engine that it has never loaded."""

    name: str
    page_spec: PageSpec
    provenance: Mapping[str, str]


def serve_engine(descriptor: int, parent: int) -> None:
    """The life of an engine's process, until the supervisor goes away."""
    guard(parent, OOM_SCORE)
    channel = socket.socket(fileno=descriptor)
    channel.set_inheritable(False)
    first = receive(channel)
    if first is None:
        os._exit(0)
    log = logging.getLogger("scanmill")
    log.addHandler(_Sender(channel))
    log.setLevel(logging.INFO)
    try:
        start, every_s = first.load()
        pulse = Heartbeat(channel, every_s)
        engine: Engine = start(pulse)
        send(channel, MessageKind.READY, 0, EngineInfo(engine.name, engine.page_spec, dict(engine.provenance())))
    except Exception as error:  # noqa: BLE001 - it is raised again in the parent
        send(channel, MessageKind.NO_START, 0, _fit_to_travel(error))
        os._exit(1)
    keeper = EngineHost(channel, engine, pulse)
    try:
        while (message := receive(channel)) is not None:
            keeper.hear(message)
    except ModelError as error:  # the engine itself says that it cannot go on, whatever it is asked
        send(channel, MessageKind.UNFIT, 0, _fit_to_travel(error))
    except BaseException as error:  # noqa: BLE001 - a fault of the card stays with its process: only a new one is sound
        if missing := missing_library.fault(error):  # a new process would lack it as well
            send(channel, MessageKind.UNFIT, 0, missing)
        else:
            send(channel, MessageKind.BROKEN, 0, _words(error))
    os._exit(0)  # no clean-up by libraries: there is nothing to save, and a broken card would make it hang


class EngineHost:
    """`queue` holds what came and was not pulled yet, `given` what the engine has, by the request's identity."""

    def __init__(self, channel: socket.socket, engine: Engine, pulse: Heartbeat) -> None:
        self.channel, self.engine, self.pulse = channel, engine, pulse
        self.poll = select.poll()
        self.poll.register(channel, select.POLLIN)
        self.free = select.poll()
        self.free.register(channel, select.POLLOUT)
        self.queue: deque[tuple[int, Request]] = deque()
        self.given: dict[int, tuple[int, Request]] = {}
        self.pages: tuple[Page, ...] = ()
        self.ended = False

    def hear(self, message: Message) -> None:
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
                self.pulse()
                continue
            if id(reply.request) not in self.given:
                raise RuntimeError("the engine gave a reply that nothing was asked for")
            if isinstance(reply, Partial):
                self.tell(reply)
                continue
            number, _ = self.given.pop(id(reply.request))
            send(self.channel, MessageKind.REPLY, number, {name: getattr(reply, name) for name in REPLY_FIELDS})
        if self.given:
            raise RuntimeError(f"the engine ended without an answer to {len(self.given)} requests")
        self.pages = ()
        send(self.channel, MessageKind.DONE, 0, None)

    def tell(self, partial: Partial) -> None:
        """Dropped while the supervisor has not read what was said before: the engine never waits to be watched."""
        if self.free.poll(0):  # on Linux: less than a quarter of the channel's room is taken
            send(self.channel, MessageKind.PARTIAL, self.given[id(partial.request)][0], partial.text[:PARTIAL_LETTERS])

    def requests(self) -> Iterator[Request | None]:
        """What the engine pulls. It waits for the supervisor only when the engine has nothing in hand."""
        while True:
            while not self.ended and (self.poll.poll(0) or not (self.queue or self.given)):
                message = receive(self.channel)
                if message is None:
                    os._exit(0)
                self.hear(message)
            if self.queue:
                number, request = self.queue.popleft()
                self.given[id(request)] = number, request
                send(self.channel, MessageKind.TAKEN, number, None)  # from here on a death may be this request's doing
                yield request
            elif self.ended and not self.given:
                return
            else:
                self.pulse()
                yield None


class _Sender(logging.Handler):
    """What the engine says of its plan and its kernels, said again by the parent."""

    def __init__(self, channel: socket.socket) -> None:
        super().__init__(logging.INFO)
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        send(self._channel, MessageKind.LOG, record.levelno, record.getMessage())


def _words(error: BaseException) -> str:
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}"[:WORDS] if said else type(error).__name__


def _fit_to_travel(error: Exception) -> Any:
    """A ModelError as it is, and so a library that cannot be loaded; of anything else its words."""
    error = error if isinstance(error, ModelError) else missing_library.fault(error) or error
    if isinstance(error, ModelError):
        try:
            return pickle.loads(pickle.dumps(error))
        except Exception:  # noqa: BLE001 - whatever the reason, its words still travel
            return ModelError(str(error))
    return ModelError(f"The engine did not start: {_words(error)}")
