"""Distinguish a shortage of memory, processes, threads or open files from a broken document, and say what helps.

`ulimit -v` limits the address space of each process. C++ code may abort the process when it gets no more, so a run
checks it at its start (`check_address_space`).
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.core.errors import ModelError

# Address space of a process without the memory of documents: Python, Arrow, OpenCV, ONNX runtime and its models.
# Measured with /proc/PID/status on two cores: 2.0 GB at most in a run of the demo, 1.1 GB in its workers.
BASE_MIB = 2048
IMPORTS_MIB = 512  # address space of the imports of the command line; with less, libraries abort the process
_ERRNOS = {errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE}
_WORDS = ("can't start new thread", "failed to map segment", "Cannot allocate memory", "bad_alloc", "bad allocation")
_CURE = (
    "Nothing was lost: what was not finished is read by the next run. Free memory, lift the limits of this user "
    "(ulimit -v, -u and -n; LimitAS= and MemoryMax= of a systemd unit), or set fewer `workers` in the config."
)


def address_space_mib() -> int | None:
    """The limit of address space (`ulimit -v`), in MiB; None where there is none."""
    import resource

    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if soft == resource.RLIM_INFINITY else soft >> 20


def address_space_fault(memory_mib: int) -> str | None:
    """A message where the address space is too small for a run with this `limits.memory_mib`; else None."""
    allowed, needed = address_space_mib(), BASE_MIB + memory_mib
    if allowed is None or allowed >= needed:
        return None
    return (
        f"a process may map {allowed} MiB of memory here (ulimit -v), and a run needs {needed} MiB: {BASE_MIB} MiB and "
        f"`limits.memory_mib` ({memory_mib})"
    )


def imports_fault() -> str | None:
    """A message where the address space is too small for the imports of every command; else None."""
    allowed = address_space_mib()
    if allowed is None or allowed >= IMPORTS_MIB:
        return None
    seen = f"A process may map {allowed} MiB of memory here (ulimit -v), and Scanmill needs {IMPORTS_MIB} MiB to start."
    return f"{seen} Lift the limit (ulimit -v unlimited, or LimitAS=infinity in the systemd unit)."


def check_address_space(memory_mib: int) -> None:
    """Raises ModelError where the address space is too small for a run."""
    if fault := address_space_fault(memory_mib):
        raise ModelError(f"{fault[0].upper()}{fault[1:]}. {ADDRESS_SPACE_CURE} Nothing was touched.")


ADDRESS_SPACE_CURE = (
    "Lift the limit (ulimit -v unlimited, or LimitAS=infinity in the systemd unit), or lower `limits.memory_mib` in "
    "the config."
)


def shortage(error: BaseException) -> str | None:
    """A message for an error of exhausted resources; None for any other error."""
    ran_out = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _ERRNOS)
    if not ran_out and not any(words in str(error) for words in _WORDS):
        return None
    text = " ".join(str(error).split()) or type(error).__name__
    return f"The machine is short of memory, processes or open files ({text}). {_CURE}"


@contextmanager
def raising_shortage() -> Iterator[None]:
    """Turns errors of exhausted resources inside into ModelError."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ModelError) or (message := shortage(error)) is None:
            raise
        raise ModelError(message) from error
