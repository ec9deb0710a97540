"""The password of the page: kept as a salted scrypt hash, and a wrong one makes the next try wait."""

import base64
import hashlib
import hmac
import os
import time
from collections import OrderedDict
from collections.abc import Callable

LOG_N, R, P = 15, 8, 1  # 32 MiB and about 0.1 s a try: RFC 7914 asks for at least 2^14 for a person who waits
_BYTES = 32
MOST_MIB = 256
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
CLIENTS = 10_000  # whose failures are remembered


def hashed(password: str) -> str:
    """The line for the config: `scrypt$15$8$1$salt$hash`."""
    salt = os.urandom(16)
    return f"scrypt${LOG_N}${R}${P}${_text(salt)}${_text(_scrypt(password, salt, LOG_N, R, P))}"


def right(password: str, line: str) -> bool:
    """Whether the password is the one of the line. Raises ValueError where the line is no hash."""
    log_n, r, p, salt, known = _parts(line)
    return hmac.compare_digest(_scrypt(password, salt, log_n, r, p), known)


def check(line: str) -> None:
    """Raises ValueError where the line is no hash, or one that takes more than `MOST_MIB` to compare with."""
    _parts(line)


def _parts(line: str) -> tuple[int, int, int, bytes, bytes]:
    name, *numbers, salt, known = line.split("$")
    log_n, r, p = map(int, numbers)
    found = base64.b64decode(salt, validate=True), base64.b64decode(known, validate=True)
    if name != "scrypt" or len(found[1]) != _BYTES:
        raise ValueError("it is not a hash that Scanmill makes")
    if not (0 < log_n <= 24 and r > 0 and 0 < p <= 16 and 2**log_n * r * 128 <= MOST_MIB * 2**20):
        raise ValueError(f"it asks for more than {MOST_MIB} MiB of memory at each login")
    return log_n, r, p, *found


def _scrypt(password: str, salt: bytes, log_n: int, r: int, p: int) -> bytes:
    room = 2**log_n * r * 128 + 2**20
    return hashlib.scrypt(password.encode(), salt=salt, n=2**log_n, r=r, p=p, maxmem=room, dklen=_BYTES)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


class LoginThrottle:
    """How long each client must wait after wrong tries: 1 s, 2 s, 4 s, … up to a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait_s(self, client: str) -> float:
        """Seconds until this client may try again; 0 where it may now."""
        _, until = self._failures.get(client, (0, 0.0))
        return max(0.0, until - self._clock())

    def failed(self, client: str) -> None:
        count = self._failures.pop(client, (0, 0.0))[0] + 1
        wait = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(count - 1, 10))
        self._failures[client] = count, self._clock() + wait
        if len(self._failures) > CLIENTS:
            self._failures.popitem(last=False)

    def forget(self, client: str) -> None:
        self._failures.pop(client, None)
