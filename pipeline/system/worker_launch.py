"""Start and end guarded Python processes, each joined to its parent by one socket pair."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping

_OWN_END = ", as a library does that gets no memory or finds itself broken"
_BOOT = """
import sys
from importlib import import_module
module, name, descriptor, parent, *sys.path[:] = sys.argv[1:]
getattr(import_module(module), name)(int(descriptor), int(parent))
"""


def launch(
    module: str, name: str, environment: Mapping[str, str], stderr: int = subprocess.DEVNULL
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """A fresh Python that calls `module.name(descriptor of its end of a socket pair, our pid)`, and our end.

    Call it from a thread that lasts: on Linux a guarded process dies with the thread that launched it.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", _BOOT, module, name, str(theirs.fileno()), str(os.getpid()), *sys.path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            pass_fds=[theirs.fileno()],
            process_group=0,  # Ctrl-C is for the parent to decide on; and killing takes grandchildren along
            env={**os.environ, **environment},
        )
    return process, ours


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a launched process and all that it started."""
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
    likely = {"SIGKILL": ", most likely because memory ran out", **dict.fromkeys(("SIGABRT", "SIGTRAP"), _OWN_END)}
    return f"the worker was ended by {name}{likely.get(name, '')}"
