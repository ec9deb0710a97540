"""An engine in a process of its own, under watch: what hangs or dies is started again, and what it had is asked again.

The process (keeper.py) tells of every request that it takes up, every reply, and between its steps that it is alive.
When it has work and nothing was heard of it for `step_s` seconds, it is ended. Only time in which this side listened
counts: a parent that writes a large table, or a machine that was asleep, is nobody's fault.
"""

import contextlib
import logging
import select
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING

from models.supervision.engine_host import EngineInfo, Start
from models.supervision.retry_queue import POISON, RetryQueue, TrackedRequest, named
from pipeline.core.errors import ModelError
from pipeline.core.types import Page
from pipeline.engine import PageSpec, Partial, Reply, Request
from pipeline.system.ipc import Message, MessageKind, receive, send
from pipeline.system.process_pool import kill, launch

if TYPE_CHECKING:
    from pipeline.schema.job import Job
    from pipeline.schema.settings import Settings

LOOK_S = 0.5  # the longest wait for a message between two looks at the clock
PAUSES_S = (0.0, 2.0, 10.0)  # before each try to start again: a card takes a moment to free a dead process's memory
END_S = 30.0  # for a killed process to be gone; one that hangs in the driver never is
BARREN_STEPS = 30  # times `step_s` without a reply: it goes round and round
LAST_LINES = 3  # of what the process wrote to stderr, as part of the reason

log = logging.getLogger("scanmill")


class _Died(Exception):
    """The engine's process is of no more use; the text says why."""


class SupervisedEngine:
    """`types.Engine` around the one that `start` makes in a fresh process. Raises ModelError where it does not start.

    `unload` ends the process and frees all that it held; whatever is asked next starts it again. `close` is the same.
    `step_s`: how long the engine may be silent while it has work; 30 times that it may be without a reply.
    `start_s`: how long it may take to be ready. `heard` is called with each reply, and with None when a stream ends.
    `start` is pickled each time that the process is started, so it may hold what changes from reply to reply.
    For one thread, which must outlast the engine: on Linux the process dies with it.
    """

    def __init__(
        self,
        start: Start,
        *,
        step_s: float = 120.0,
        start_s: float = 600.0,
        heard: Callable[[Reply | None], None] = lambda reply: None,
    ) -> None:
        self._heard = heard
        self._setup = start, min(1.0, step_s / 4)
        self._step_s, self._start_s = step_s, start_s
        self._process: subprocess.Popen[bytes] | None = None
        self._quiet_s = 0.0  # time listened since the last sign of life
        self._barren_s = 0.0  # and since the last reply
        self._sent: tuple[Page, ...] | None = None  # pages that the process holds
        card = self._launch()
        self.name: str = card.name
        self.page_spec: PageSpec = card.page_spec
        self._provenance = card.provenance

    # ---- what every model says
    def provenance(self) -> Mapping[str, str]:
        return self._provenance

    @property
    def pid(self) -> int | None:
        """The engine's process, None while it is unloaded."""
        return self._process.pid if self._process else None

    def unload(self) -> None:
        """End the process. The next question starts it again."""
        if self._process is None:
            return
        process, self._process, self._sent = self._process, None, None
        kill(process)
        self._channel.close()
        self._stderr.close()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            raise ModelError(
                f"The engine's process {process.pid} was killed and does not go away: the GPU driver holds it. "
                "Restart the machine; nothing is lost."
            ) from None

    close = unload

    def unsupported_reason(self, job: "Job") -> str | None:
        self._wake()
        try:
            return self._refusal(job)
        except _Died as died:
            self._start_again(str(died), [])
        try:
            return self._refusal(job)
        except _Died as died:
            self.unload()
            raise ModelError(f"The engine died when it was asked whether it can do {job.name}: {died}") from None

    def answer(self, requests: Iterable[Request | None]) -> Iterator[Reply | Partial]:
        """As every model; raises ModelError when the engine cannot be kept alive."""
        source = iter(requests)
        first = next((request for request in source if request is not None), None)
        if first is None:
            return  # nothing to ask: an engine that was unloaded stays so
        docket, source, more = RetryQueue(), chain([first], source), True
        self._wake()
        try:
            self._tell(MessageKind.BEGIN)
            while more or not docket.done:
                patient = True
                while patient and docket.room:
                    if (asked := docket.again()) is not None:
                        self._ask(asked)
                        continue
                    if not more or not docket.open:
                        break
                    try:
                        request = next(source)
                    except StopIteration:
                        more = False
                        break
                    if request is None:
                        patient = False  # the source has waited already
                    else:
                        self._ask(docket.new(request))
                try:
                    yield from self._replies(docket, patient)
                except _Died as died:
                    self._start_again(str(died), docket.died(str(died)))
                    self._tell(MessageKind.BEGIN)
            self._finish()
        except BaseException:  # also when the caller leaves: nobody waits for what the engine still has
            self.unload()
            raise
        finally:
            self._heard(None)

    # ---- one stream
    def _ask(self, asked: TrackedRequest) -> None:
        request = asked.request
        same = self._sent is not None and len(self._sent) == len(request.pages)
        same = same and all(a is b for a, b in zip(self._sent or (), request.pages, strict=True))
        self._sent = request.pages
        self._tell(MessageKind.ASK, asked.number, (replace(request, pages=()), None if same else request.pages))

    def _replies(self, docket: RetryQueue, patient: bool) -> Iterator[Reply | Partial]:
        """What was heard. Raises _Died, once all is given out that the process said before."""
        for message in self._hear(LOOK_S if patient and docket.out else 0.0, working=bool(docket.out)):
            if message.kind == MessageKind.TAKEN:
                docket.take(message.number)
            elif message.kind == MessageKind.PARTIAL and not docket.judging:
                yield Partial(docket.out[message.number].request, message.load())
            elif message.kind == MessageKind.REPLY:
                self._barren_s = 0.0
                yield self._told(docket.answered(message.number, message.load()))

    def _finish(self) -> None:
        """Let the engine end its stream; if it dies over that, the next question starts it again."""
        self._tell(MessageKind.END)
        try:
            while all(message.kind != MessageKind.DONE for message in self._hear(LOOK_S, working=True)):
                pass
        except _Died:
            self.unload()
        self._sent = None

    def _told(self, reply: Reply) -> Reply:
        self._heard(reply)
        if reply.error_code == "poison":
            log.warning("%s is put aside as poison: %s", reply.request.document.name, reply.error)
        return reply

    def _refusal(self, job: "Job") -> str | None:
        self._tell(MessageKind.UNSUPPORTED, 0, job)
        while True:
            for message in self._hear(LOOK_S, working=True):
                if message.kind == MessageKind.UNSUPPORTED:
                    reason: str | None = message.load()
                    return reason

    # ---- the process
    def _wake(self) -> None:
        if self._process is not None and self._process.poll() is not None:  # it died while nobody asked it anything
            self.unload()
        if self._process is None:
            self._launch()

    def _start_again(self, reason: str, suspects: list[TrackedRequest]) -> None:
        had = ""
        if suspects:
            had = f" It had {len(suspects)} question{'s' * (len(suspects) > 1)}, about {named(suspects)}; "
            third = suspects[0].deaths >= POISON
            had += "blank paper is tried in its place." if third else "asked again."
        log.warning("%s: the engine is started again: %s.%s", f"{datetime.now():%H:%M:%S}", reason, had)
        self.unload()
        for last, pause_s in enumerate(PAUSES_S, 1 - len(PAUSES_S)):
            time.sleep(pause_s)
            try:
                self._launch()
                return
            except ModelError:
                if not last:
                    raise

    def _launch(self) -> EngineInfo:
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        self._process, self._channel = launch(
            "models.supervision.engine_host", "serve_engine", {}, self._stderr.fileno()
        )
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):  # a process that was stopped in mid-message
            whole = int(self._step_s)
            timeval = struct.pack("@ll", whole, int((self._step_s - whole) * 1e6))
            self._channel.setsockopt(socket.SOL_SOCKET, option, timeval)
        self._poll = select.poll()
        self._poll.register(self._channel, select.POLLIN)
        self._listened, self._lost, self._barren_s = time.monotonic(), "", 0.0
        until = time.monotonic() + self._start_s
        try:
            self._tell(MessageKind.SETUP, 0, self._setup)
            while time.monotonic() < until:
                for message in self._hear(LOOK_S, working=False):
                    if message.kind == MessageKind.READY:
                        card: EngineInfo = message.load()
                        return card
                    if message.kind == MessageKind.NO_START:
                        raise message.load()
            raise ModelError(
                f"The engine was not ready after {self._start_s:g} s. Where the disk is slow, raise `engine_start_s`."
            )
        except _Died as died:
            self.unload()
            raise ModelError(f"The engine's process ended while it started: {died}.") from None
        except BaseException:
            self.unload()
            raise

    # ---- the channel
    def _tell(self, kind: MessageKind, number: int = 0, value: object = None) -> None:
        """What cannot be sent is no error here: `_hear` gives out what the process said last, and then tells."""
        try:
            send(self._channel, kind, number, value)
        except BlockingIOError:
            self._lost = self._lost or "it took nothing more up"
        except OSError:
            pass
        self._quiet_s = 0.0

    def _hear(self, wait_s: float, working: bool) -> Iterator[Message]:
        """The messages that are there, or come within `wait_s`. Raises _Died after the last of a process that is gone,
        that says itself that it is broken, or, while it is `working`, that has been silent for too long."""
        heard = False
        ready = self._poll.poll(min(wait_s, self._step_s / 4) * 1000)
        while ready:
            message = self._receive()
            heard = True
            if message.kind == MessageKind.LOG:
                log.log(message.number, message.load())
            elif message.kind == MessageKind.BROKEN:
                raise _Died(f"{message.load()}{self._last_words()}")
            elif message.kind == MessageKind.UNFIT:
                raise message.load()
            else:
                yield message
            ready = self._poll.poll(0)
        self._check_silence(heard, working)

    def _receive(self) -> Message:
        """The next message. Raises _Died where the process is gone, or stopped in the middle of a message."""
        try:
            message = receive(self._channel)
        except BlockingIOError:
            raise _Died(f"it stopped in the middle of a message{self._last_words()}") from None
        except OSError:
            message = None
        if message is None:
            raise _Died(self._how_it_ended())
        return message

    def _check_silence(self, heard: bool, working: bool) -> None:
        """Raise _Died for a lost message, or where the engine has been without a sign of life or a reply too long."""
        now = time.monotonic()
        listened, self._listened = now - self._listened, now
        listened = min(listened, self._step_s / 4)
        self._quiet_s = 0.0 if heard or not working else self._quiet_s + listened
        self._barren_s = self._barren_s + listened if working else 0.0
        if self._lost:
            raise _Died(self._lost)
        if self._barren_s >= BARREN_STEPS * self._step_s:
            raise _Died(f"it gave no reply for {BARREN_STEPS * self._step_s:g} s although it went on working")
        if self._quiet_s >= self._step_s:
            raise _Died(self._how_it_hangs())

    def _how_it_ended(self) -> str:
        assert self._process is not None
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "its process closed its channel"
        how = f"its process ended with code {code}"
        if code < 0:
            name = signal.Signals(-code).name
            how = f"its process was ended by {name}" + (" (did memory run out?)" if name == "SIGKILL" else "")
        return how + self._last_words()

    def _how_it_hangs(self) -> str:
        assert self._process is not None
        with contextlib.suppress(OSError, IndexError):
            state = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()[0]
            if state == "T":
                return f"its process was stopped from outside (SIGSTOP), for more than {self._step_s:g} s"
        return f"nothing was heard of it for {self._step_s:g} s (`engine_step_s`){self._last_words()}"

    def _last_words(self) -> str:
        """What its libraries wrote last to stderr."""
        self._stderr.seek(max(0, self._stderr.seek(0, 2) - 2000))
        lines = self._stderr.read().decode("utf-8", "replace").split("\n")
        said = " / ".join([line.strip() for line in lines if line.strip()][-LAST_LINES:])
        return f"; its last words: {said[-300:]}" if said else ""


def supervised(
    start: Start, settings: "Settings", heard: Callable[[Reply | None], None] = lambda reply: None
) -> SupervisedEngine:
    """The engine under watch, as patient as the settings say. Raises ModelError where it does not start."""
    return SupervisedEngine(start, step_s=settings.engine_step_s, start_s=settings.engine_start_s, heard=heard)
