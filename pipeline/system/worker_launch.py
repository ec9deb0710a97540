"""Start and kill Python processes that are connected to their parent by a socket pair."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping

_ABORTED = ", as by a library that gets no memory or detects an internal error"
_BOOT = """
import sys
from importlib import import_module
module, name, descriptor, parent, *sys.path[:] = sys.argv[1:]
getattr(import_module(module), name)(int(descriptor), int(parent))
"""


def launch(
    module: str, name: str, environment: Mapping[str, str], stderr: int = subprocess.DEVNULL
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """A new Python process that calls `module.name(descriptor of its socket, our pid)`, and our socket.

    Call it from a long-lived thread: on Linux the process dies with the thread that started it.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", _BOOT, module, name, str(theirs.fileno()), str(os.getpid()), *sys.path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            pass_fds=[theirs.fileno()],
            process_group=0,  # the parent handles Ctrl-C; and `kill` reaches grandchildren
            env={**os.environ, **environment},
        )
    return process, ours


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a launched process and its children."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def exit_reason(process: subprocess.Popen[bytes]) -> str:
    try:
        code = process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        return "the worker closed its channel"
    if code >= 0:
        return f"the worker exited with {code}"
    name = signal.Signals(-code).name
    likely = {"SIGKILL": ", most likely because memory ran out", **dict.fromkeys(("SIGABRT", "SIGTRAP"), _ABORTED)}
    return f"the worker was ended by {name}{likely.get(name, '')}"
