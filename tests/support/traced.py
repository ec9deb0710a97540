"""Run a command under strace, and tell from its system calls which addresses it turned to and which paths it changed.

All its threads and child processes are traced, whatever language they are written in. Linux only; where strace is not
there, or may not trace, the tests that need it skip.
"""

import ipaddress
import os
import re
import shutil
import signal
import subprocess
import sys
from codecs import escape_decode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
UNWRITABLE = "/sys"  # a folder in which nobody makes a file, not even root
_SPEAK = ("connect", "bind", "sendto", "sendmsg", "sendmmsg", "io_uring_setup")
_CHANGE = ("open", "openat", "openat2", "creat", "mkdir", "mkdirat", "mknod", "mknodat", "rename", "renameat",
           "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat", "rmdir", "truncate", "chmod",
           "fchmodat", "chown", "lchown", "fchownat", "utime", "utimes", "utimensat", "setxattr")  # fmt: skip
# "?": no processor has all of these calls.
_STRACE = ["strace", "-f", "--seccomp-bpf", "-y", "-s", "64", "-e", "signal=none", "-e",
           "trace=" + ",".join(f"?{name}" for name in (*_SPEAK, *_CHANGE))]  # fmt: skip
_REFUSE = ["-e", "inject=connect,sendto,sendmsg,sendmmsg:error=ENETUNREACH"]
_WRITES = re.compile(r"\bO_(CREAT|WRONLY|RDWR|TRUNC|TMPFILE)\b")
_LOCAL = ("AF_UNIX", "AF_NETLINK", "AF_UNSPEC")  # the kernel of this machine, or nobody
_NAME_PORTS = ("53", "853", "5353")  # a resolver on loopback passes questions on
_NAME_PATHS = ("/etc/hosts", "/etc/resolv.conf")  # read by whoever looks up a name, however it is then asked
_NAME_SOCKETS = ("/run/systemd/resolve/", "/run/nscd/", "/var/run/nscd/")  # services that look names up for others
_CALL = re.compile(r"(\d+) +(\w+)\((.*)")
_FAMILY = re.compile(r"sa_family=(\w+)(?:, sin6?_port=htons\((\d+)\))?")
_ADDRESS = re.compile(r'(?:inet_addr\(|inet_pton\(AF_INET6, )"([^"]+)"')
_PATH = re.compile(r'(?:(?:AT_FDCWD|\d+)<((?:[^<>\\]|\\.)*)>, )?"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Trace:
    """A command that runs under strace, or did."""

    log: Path
    process: "subprocess.Popen[bytes]"

    def reached(self) -> list[str]:
        """Every call that turned, or tried to turn, to anything but loopback and Unix sockets; name look-ups too."""
        return [line for line, call, rest in self._calls() if _leaves(call, rest)]

    def changed(self, *allowed: str | Path) -> list[str]:
        """Every path that a call made, changed or removed, or tried to, but those in or at `allowed`."""
        places = tuple(os.path.realpath(place) for place in allowed)
        found = [path for _, call, rest in self._calls() for path in _changes(call, rest)]
        return sorted({path for path in found if not any(path == at or path.startswith(f"{at}/") for at in places)})

    def processes(self) -> int:
        """How many processes and threads made any of the traced calls."""
        return len({line.split()[0] for line, _, _ in self._calls()})

    def stop(self) -> int:
        """SIGTERM to the command itself, and its exit code once all its processes have ended."""
        first = next(self._calls())[0].split()[0]
        os.kill(int(first), signal.SIGTERM)
        return self.process.wait(60)

    def _calls(self) -> Iterator[tuple[str, str, str]]:
        """The line, the name of the call and the text of its arguments, which strace writes before the call is made."""
        with open(self.log, encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                if found := _CALL.match(line):
                    yield line.rstrip("\n"), found[2], found[3]


@contextmanager
def traced(
    words: Sequence[str | Path],
    log: Path,
    temporary: Path,
    *,
    refused: bool = False,
    stdout: Path | None = None,
    **variables: str,
) -> Iterator[Trace]:
    """Starts `words` in the project's folder, with next to no environment; ends what is left of it.

    HOME cannot be written to, and nothing says that this is continuous integration, where some libraries keep quiet.
    `refused`: every attempt to connect or send fails, and is traced all the same. For what is meant to try.
    """
    environment = {"PATH": os.environ["PATH"], "HOME": UNWRITABLE, "TMPDIR": str(temporary), "LC_ALL": "C.UTF-8",
                   "PYTHONDONTWRITEBYTECODE": "1", **variables}  # fmt: skip
    command = [*_STRACE, *(_REFUSE if refused else []), "-o", str(log), *map(str, words)]
    log.touch()
    with (
        open(stdout or os.devnull, "wb") as out,
        subprocess.Popen(command, cwd=PROJECT, env=environment, start_new_session=True, stdout=out) as process,
    ):
        try:
            yield Trace(log, process)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@cache
def refusal() -> str:
    """Why nothing can be traced here; "" where it can."""
    if sys.platform != "linux" or shutil.which("strace") is None:
        return "needs strace, on Linux; install it with: apt-get install strace"
    done = subprocess.run([*_STRACE, "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    return f"strace may not trace here: {done.stderr.strip()}" if done.returncode or done.stderr else ""


def needs_strace() -> None:
    """Skips the test where nothing can be traced."""
    if reason := refusal():
        pytest.skip(reason)


def _leaves(call: str, rest: str) -> bool:
    if call in _CHANGE:
        return any(f'"{path}"' in rest for path in _NAME_PATHS)
    if call == "io_uring_setup":
        return True  # what is sent through such a ring is no system call
    families = _FAMILY.findall(rest)
    addresses = _ADDRESS.findall(rest)
    if any(f'sun_path="{path}' in rest for path in _NAME_SOCKETS):
        return "-1 ENOENT" not in rest  # glibc tries nscd for users too; a name look-up goes on to _NAME_PATHS
    if any(port in _NAME_PORTS for _, port in families):
        return True
    if sum(family not in _LOCAL for family, _ in families) > len(addresses):
        return True  # a family that has no loopback, or an address in a form that is not known here
    return not all(_loopback(address) for address in addresses)


def _loopback(text: str) -> bool:
    address = ipaddress.ip_address(text)
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _changes(call: str, rest: str) -> Iterator[str]:
    if call not in _CHANGE or (call.startswith("open") and not _WRITES.search(rest)):
        return
    found = _PATH.findall(rest)
    # A relative path is taken for one in the project's folder, where no change is allowed, whatever `chdir` said.
    for folder, name in found[1:] if call.startswith("symlink") else found:
        path = os.path.join(_text(folder) or str(PROJECT), _text(name))
        yield os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def _text(shown: str) -> str:
    return os.fsdecode(escape_decode(os.fsencode(shown))[0])
