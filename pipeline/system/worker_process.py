"""The main loop of a worker process of a ProcessPool."""

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

# in messages of C++ libraries and of the dynamic loader
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
    """A task has no result for another reason than an exception of its function."""


def serve(descriptor: int, parent: int) -> None:
    """Set up as the first message says, then run tasks until the parent closes the socket."""
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
        _limit_memory(None)  # the answer must not fail for memory
        send(channel, kind, task.number, value)
        del task, value
    os._exit(0)  # skip the clean-up of libraries


def _run(task: Message) -> tuple[MessageKind, Any]:
    try:
        function, args = task.load()
        return MessageKind.VALUE, function(*args)
    except BaseException as error:  # noqa: BLE001 - it is raised again in the parent
        if _is_memory_error(error):
            kind = type(error).__name__
            return MessageKind.NO_MEMORY, f"the task needed more memory than its worker may have ({kind})"
        return MessageKind.RAISED, _portable(missing_library.fault(error) or error)


def _start_fault(error: BaseException) -> ModelError:
    """An error at the start is a fault of this machine, since there is no document yet."""
    if isinstance(error, ModelError):
        return error
    if _is_memory_error(error):
        return ModelError(
            f"A worker process has too little memory to start ({error}). Free some, or raise `ulimit -v`."
        )
    return missing_library.fault(error) or ModelError(f"A worker process cannot start: {type(error).__name__}: {error}")


def _is_memory_error(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or any(words in str(error) for words in _MEMORY_WORDS)


def _portable(error: BaseException) -> BaseException:
    """The exception with its traceback as a note; a WorkerError with its text where it cannot be pickled."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - whatever the reason, its words still travel
        return WorkerError(f"{type(error).__name__}: {error}")
    return error


def guard(parent: int, oom_score: int = 1000) -> None:
    """Die with the parent, ignore Ctrl-C and SIGTERM, write no core files, and be killed first when memory runs out.

    Linux kills the process with the largest share of memory; `oom_score` is added to it, in thousandths.
    """
    import resource

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # systemd signals all processes; the parent decides
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
