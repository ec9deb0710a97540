"""Run an engine in its own process: restart it when it hangs or dies, and retry its requests.

The process (engine_host.py) reports every request that it takes, every reply, and a heartbeat between its steps. An
engine with work that sends nothing for `step_s` seconds is killed. Only time in which the supervisor listened counts,
so a parent that writes a large table, or a machine that was suspended, does not count as a hang.
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
from pipeline.system.worker_launch import kill, launch

if TYPE_CHECKING:
    from pipeline.schema.job import Job
    from pipeline.schema.settings import Settings

POLL_S = 0.5  # the longest wait for a message before the time limits are checked
PAUSES_S = (0.0, 2.0, 10.0)  # before each restart: a GPU needs time to free a dead process's memory
END_S = 30.0  # for a killed process to end; one that hangs in the driver never does
NO_REPLY_STEPS = 30  # times `step_s` without a reply: an endless loop
LAST_LINES = 3  # of what the process wrote to stderr, as part of the reason

log = logging.getLogger("scanmill")


class _EngineDied(Exception):
    """The engine's process cannot be used any more; the text says why."""


class SupervisedEngine:
    """An `Engine` that runs the one made by `start` in a new process. Raises ModelError where it does not start.

    `unload` ends the process and frees its memory; the next request starts it again. `close` is the same.
    `step_s`: seconds without a message while the engine has work; without a reply, 30 times that.
    `start_s`: seconds until it is ready. `heard` is called with each reply, and with None when a stream ends.
    `start` is pickled at each start of the process, so it may hold state that changes between replies.
    Not thread-safe. On Linux the process dies with the thread that started it.
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
        self._quiet_s = 0.0  # time listened since the last message
        self._without_reply_s = 0.0  # and since the last reply
        self._sent: tuple[Page, ...] | None = None  # pages that the process holds
        info = self._launch()
        self.name: str = info.name
        self.page_spec: PageSpec = info.page_spec
        self._provenance = info.provenance

    # ---- the Engine protocol
    def provenance(self) -> Mapping[str, str]:
        return self._provenance

    @property
    def pid(self) -> int | None:
        """The engine's process, None while it is unloaded."""
        return self._process.pid if self._process else None

    def unload(self) -> None:
        """End the process. The next request starts it again."""
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
                f"The engine's process {process.pid} was killed and does not end: the GPU driver holds it. "
                "Restart the machine; nothing is lost."
            ) from None

    close = unload

    def unsupported_reason(self, job: "Job") -> str | None:
        self._ensure_running()
        try:
            return self._ask_unsupported_reason(job)
        except _EngineDied as died:
            self._restart(str(died), [])
        try:
            return self._ask_unsupported_reason(job)
        except _EngineDied as died:
            self.unload()
            raise ModelError(f"The engine died when it was asked whether it can do {job.name}: {died}") from None

    def answer(self, requests: Iterable[Request | None]) -> Iterator[Reply | Partial]:
        """See `Engine.answer`. Raises ModelError when the engine dies again and again."""
        source = iter(requests)
        first = next((request for request in source if request is not None), None)
        if first is None:
            return  # no requests: an unloaded engine stays unloaded
        queue, source, more = RetryQueue(), chain([first], source), True
        self._ensure_running()
        try:
            self._send(MessageKind.BEGIN)
            while more or not queue.done:
                wait = True
                while wait and queue.room:
                    if (asked := queue.again()) is not None:
                        self._ask(asked)
                        continue
                    if not more or not queue.open:
                        break
                    try:
                        request = next(source)
                    except StopIteration:
                        more = False
                        break
                    if request is None:
                        wait = False  # the source has already waited
                    else:
                        self._ask(queue.new(request))
                try:
                    yield from self._replies(queue, wait)
                except _EngineDied as died:
                    self._restart(str(died), queue.died(str(died)))
                    self._send(MessageKind.BEGIN)
            self._finish()
        except BaseException:  # also when the caller closes the stream: drop the requests in flight
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
        self._send(MessageKind.ASK, asked.number, (replace(request, pages=()), None if same else request.pages))

    def _replies(self, queue: RetryQueue, wait: bool) -> Iterator[Reply | Partial]:
        """Replies and partial replies that have arrived. Raises _EngineDied after the last message of a process."""
        for message in self._messages(POLL_S if wait and queue.out else 0.0, working=bool(queue.out)):
            if message.kind == MessageKind.TAKEN:
                queue.take(message.number)
            elif message.kind == MessageKind.PARTIAL and not queue.probing:
                yield Partial(queue.out[message.number].request, message.load())
            elif message.kind == MessageKind.REPLY:
                self._without_reply_s = 0.0
                yield self._reported(queue.answered(message.number, message.load()))

    def _finish(self) -> None:
        """End the engine's stream; if it dies meanwhile, the next request starts it again."""
        self._send(MessageKind.END)
        try:
            while all(message.kind != MessageKind.DONE for message in self._messages(POLL_S, working=True)):
                pass
        except _EngineDied:
            self.unload()
        self._sent = None

    def _reported(self, reply: Reply) -> Reply:
        self._heard(reply)
        if reply.error_code == "poison":
            log.warning("%s is put aside as poison: %s", reply.request.document.name, reply.error)
        return reply

    def _ask_unsupported_reason(self, job: "Job") -> str | None:
        self._send(MessageKind.UNSUPPORTED, 0, job)
        while True:
            for message in self._messages(POLL_S, working=True):
                if message.kind == MessageKind.UNSUPPORTED:
                    reason: str | None = message.load()
                    return reason

    # ---- the process
    def _ensure_running(self) -> None:
        if self._process is not None and self._process.poll() is not None:  # it died between two streams
            self.unload()
        if self._process is None:
            self._launch()

    def _restart(self, reason: str, suspects: list[TrackedRequest]) -> None:
        affected = ""
        if suspects:
            affected = f" It affected {len(suspects)} question{'s' * (len(suspects) > 1)}, about {named(suspects)}; "
            third = suspects[0].deaths >= POISON
            affected += "blank paper is tried in its place." if third else "asked again."
        log.warning("%s: the engine is started again: %s.%s", f"{datetime.now():%H:%M:%S}", reason, affected)
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
        for option in (
            socket.SO_RCVTIMEO,
            socket.SO_SNDTIMEO,
        ):  # for a process that was stopped in the middle of a message
            whole = int(self._step_s)
            timeval = struct.pack("@ll", whole, int((self._step_s - whole) * 1e6))
            self._channel.setsockopt(socket.SOL_SOCKET, option, timeval)
        self._poll = select.poll()
        self._poll.register(self._channel, select.POLLIN)
        self._listened, self._lost, self._without_reply_s = time.monotonic(), "", 0.0
        until = time.monotonic() + self._start_s
        try:
            self._send(MessageKind.SETUP, 0, self._setup)
            while time.monotonic() < until:
                for message in self._messages(POLL_S, working=False):
                    if message.kind == MessageKind.READY:
                        info: EngineInfo = message.load()
                        return info
                    if message.kind == MessageKind.NO_START:
                        raise message.load()
            raise ModelError(
                f"The engine was not ready after {self._start_s:g} s. Where the disk is slow, raise `engine_start_s`."
            )
        except _EngineDied as died:
            self.unload()
            raise ModelError(f"The engine's process ended while it started: {died}.") from None
        except BaseException:
            self.unload()
            raise

    # ---- the channel
    def _send(self, kind: MessageKind, number: int = 0, value: object = None) -> None:
        """Send a message. A failure is reported by `_messages`, after the last messages of the process."""
        try:
            send(self._channel, kind, number, value)
        except BlockingIOError:
            self._lost = self._lost or "it stopped reading its channel"
        except OSError:
            pass
        self._quiet_s = 0.0

    def _messages(self, wait_s: float, working: bool) -> Iterator[Message]:
        """The messages that are there, or arrive within `wait_s`.

        Raises _EngineDied after the last message of a process that ended, that reports a fault, or that has been
        silent for too long while it is `working`.
        """
        heard = False
        ready = self._poll.poll(min(wait_s, self._step_s / 4) * 1000)
        while ready:
            message = self._receive()
            heard = True
            if message.kind == MessageKind.LOG:
                log.log(message.number, message.load())
            elif message.kind == MessageKind.BROKEN:
                raise _EngineDied(f"{message.load()}{self._stderr_tail()}")
            elif message.kind == MessageKind.UNFIT:
                raise message.load()
            else:
                yield message
            ready = self._poll.poll(0)
        self._check_silence(heard, working)

    def _receive(self) -> Message:
        """The next message. Raises _EngineDied where the process is gone, or stopped in the middle of a message."""
        try:
            message = receive(self._channel)
        except BlockingIOError:
            raise _EngineDied(f"it stopped in the middle of a message{self._stderr_tail()}") from None
        except OSError:
            message = None
        if message is None:
            raise _EngineDied(self._how_it_ended())
        return message

    def _check_silence(self, heard: bool, working: bool) -> None:
        """Raise _EngineDied for a lost message, or after too long without any message or without a reply."""
        now = time.monotonic()
        listened, self._listened = now - self._listened, now
        listened = min(listened, self._step_s / 4)
        self._quiet_s = 0.0 if heard or not working else self._quiet_s + listened
        self._without_reply_s = self._without_reply_s + listened if working else 0.0
        if self._lost:
            raise _EngineDied(self._lost)
        if self._without_reply_s >= NO_REPLY_STEPS * self._step_s:
            raise _EngineDied(f"it gave no reply for {NO_REPLY_STEPS * self._step_s:g} s although it went on working")
        if self._quiet_s >= self._step_s:
            raise _EngineDied(self._how_it_hangs())

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
        return how + self._stderr_tail()

    def _how_it_hangs(self) -> str:
        assert self._process is not None
        with contextlib.suppress(OSError, IndexError):
            state = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()[0]
            if state == "T":
                return f"its process was stopped from outside (SIGSTOP), for more than {self._step_s:g} s"
        return f"nothing was heard of it for {self._step_s:g} s (`engine_step_s`){self._stderr_tail()}"

    def _stderr_tail(self) -> str:
        """The last lines of its stderr."""
        self._stderr.seek(max(0, self._stderr.seek(0, 2) - 2000))
        lines = self._stderr.read().decode("utf-8", "replace").split("\n")
        said = " / ".join([line.strip() for line in lines if line.strip()][-LAST_LINES:])
        return f"; last lines of stderr: {said[-300:]}" if said else ""


def supervised(
    start: Start, settings: "Settings", heard: Callable[[Reply | None], None] = lambda reply: None
) -> SupervisedEngine:
    """The engine in a supervised process, with the time limits of the settings. Raises ModelError where it does not
    start."""
    return SupervisedEngine(start, step_s=settings.engine_step_s, start_s=settings.engine_start_s, heard=heard)
