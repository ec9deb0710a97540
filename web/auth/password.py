"""Password hashing with salted scrypt, and a growing delay after failed logins."""

import base64
import hashlib
import hmac
import os
import time
from collections import OrderedDict
from collections.abc import Callable

LOG_N, R, P = 15, 8, 1  # 32 MiB and about 0.1 s per try; RFC 7914 recommends at least N = 2^14 for interactive logins
_BYTES = 32
MAX_MIB = 256
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
MAX_CLIENTS = 10_000  # clients whose failures are remembered


def hash_password(password: str) -> str:
    """Hash a password for the config: `scrypt$15$8$1$salt$hash`."""
    salt = os.urandom(16)
    return f"scrypt${LOG_N}${R}${P}${_text(salt)}${_text(_scrypt(password, salt, LOG_N, R, P))}"


def verify_password(password: str, line: str) -> bool:
    """Whether the password matches the hash. Raises ValueError if the line is not a valid hash."""
    log_n, r, p, salt, known = _parts(line)
    return hmac.compare_digest(_scrypt(password, salt, log_n, r, p), known)


def validate_hash(line: str) -> None:
    """Raises ValueError if the line is not a valid hash or needs more than `MAX_MIB` of memory to verify."""
    _parts(line)


def _parts(line: str) -> tuple[int, int, int, bytes, bytes]:
    name, *numbers, salt, known = line.split("$")
    log_n, r, p = map(int, numbers)
    found = base64.b64decode(salt, validate=True), base64.b64decode(known, validate=True)
    if name != "scrypt" or len(found[1]) != _BYTES:
        raise ValueError("not a password hash made by Scanmill")
    if not (0 < log_n <= 24 and r > 0 and 0 < p <= 16 and 2**log_n * r * 128 <= MAX_MIB * 2**20):
        raise ValueError(f"this hash needs more than {MAX_MIB} MiB of memory at each login")
    return log_n, r, p, *found


def _scrypt(password: str, salt: bytes, log_n: int, r: int, p: int) -> bytes:
    max_memory = 2**log_n * r * 128 + 2**20
    return hashlib.scrypt(password.encode(), salt=salt, n=2**log_n, r=r, p=p, maxmem=max_memory, dklen=_BYTES)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


class LoginThrottle:
    """Delays after failed logins, per client: 1 s, 2 s, 4 s, … up to a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait_s(self, client: str) -> float:
        """Seconds until this client may try again; 0 if it may now."""
        _, until = self._failures.get(client, (0, 0.0))
        return max(0.0, until - self._clock())

    def record_failure(self, client: str) -> None:
        count = self._failures.pop(client, (0, 0.0))[0] + 1
        wait = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(count - 1, 10))
        self._failures[client] = count, self._clock() + wait
        if len(self._failures) > MAX_CLIENTS:
            self._failures.popitem(last=False)

    def reset(self, client: str) -> None:
        self._failures.pop(client, None)
