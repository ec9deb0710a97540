"""A guarded process, seen from inside: it sets itself up, answers tasks one after another, and dies with its parent."""

import contextlib
import mmap
import os
import pickle
import signal
import socket
import sys
import traceback
from typing import Any

from pipeline.core.errors import ModelError
from pipeline.system import missing_library
from pipeline.system.ipc import Message, MessageKind, receive, send

# C++ libraries say it so, and the loader of shared libraries.
_MEMORY_WORDS = (
    "bad_alloc",
    "bad allocation",
    "Insufficient memory",
    "Failed to allocate",
    "failed to map segment",
    "Cannot allocate memory",
    "Memory allocation error",
)
_PR_SET_PDEATHSIG = 1


class WorkerError(Exception):
    """A task has no result, through no exception of its own function."""


def serve(descriptor: int, parent: int) -> None:
    """The life of a worker: set up as told by the first message, then answer tasks until the parent goes away."""
    guard(parent)
    channel = socket.socket(fileno=descriptor)
    channel.set_inheritable(False)
    first = receive(channel)
    if first is None:
        os._exit(0)
    try:
        start, memory_mib = first.load()
        if start is not None:
            start()
        roof = _mapped_bytes() + memory_mib * 1024 * 1024
    except BaseException as error:  # noqa: BLE001 - it is raised again in the parent
        send(channel, MessageKind.NO_START, 0, _portable(_start_fault(error)))
        return
    send(channel, MessageKind.READY, 0, None)
    while (task := receive(channel)) is not None:
        _limit_memory(roof)
        kind, value = _run(task)
        _limit_memory(None)  # the answer itself must get through
        send(channel, kind, task.number, value)
        del task, value
    os._exit(0)  # no clean-up by libraries: there is nothing to save


def _run(task: Message) -> tuple[MessageKind, Any]:
    try:
        function, args = task.load()
        return MessageKind.VALUE, function(*args)
    except BaseException as error:  # noqa: BLE001 - it is raised again in the parent
        if _wants_memory(error):
            kind = type(error).__name__
            return MessageKind.NO_MEMORY, f"the task wanted more memory than its worker may have ({kind})"
        return MessageKind.RAISED, _portable(missing_library.fault(error) or error)


def _start_fault(error: BaseException) -> ModelError:
    """What keeps a worker from starting is a fault of this machine, since no document is at hand."""
    if isinstance(error, ModelError):
        return error
    if _wants_memory(error):
        return ModelError(
            f"A worker process has too little memory to start ({error}). Free some, or raise `ulimit -v`."
        )
    return missing_library.fault(error) or ModelError(f"A worker process cannot start: {type(error).__name__}: {error}")


def _wants_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or any(words in str(error) for words in _MEMORY_WORDS)


def _portable(error: BaseException) -> BaseException:
    """The exception, if it survives the journey, else a WorkerError with its words. Where it happened is noted."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - whatever the reason, its words still travel
        return WorkerError(f"{type(error).__name__}: {error}")
    return error


def guard(parent: int, oom_score: int = 1000) -> None:
    """Die with the parent, leave Ctrl-C and SIGTERM to it, drop no core files, and go before it when memory runs out.

    Linux ends the process with the largest share of memory, `oom_score` being thousandths added to that share.
    """
    import resource

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # systemd tells all: what is in hand is to be finished first
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write(str(oom_score))
    if os.getppid() != parent:
        os._exit(0)


def _mapped_bytes() -> int:
    """The address space in use, which is what RLIMIT_AS counts; 0 where there is no /proc."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * mmap.PAGESIZE
    except OSError:
        return 0


def _limit_memory(roof: int | None) -> None:
    import resource

    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if roof is None or (hard != resource.RLIM_INFINITY and roof > hard):
        roof = hard
    with contextlib.suppress(ValueError):  # macOS refuses a limit below what is mapped, and has no other
        resource.setrlimit(resource.RLIMIT_AS, (roof, hard))
