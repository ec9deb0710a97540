"""The logins of the page: each is a random token in a browser's cookie, valid until logout, 12 hours or a restart.

They are kept in the memory of the server only. So a restart ends every login, and nothing on the disk lets anybody in.
"""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

LIFETIME_S = 12 * 3600
MOST = 10_000  # logins at once; the oldest is ended for one more


@dataclass(frozen=True)
class Login:
    """One login. `person` is the name given at login, "" for none; `ended` is set at logout."""

    person: str
    ends_at: float
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Logins:
    """All logins of one server. Only the digest of a token is kept."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._logins: dict[str, Login] = {}

    def begin(self, person: str) -> str:
        """A new login; returns its token."""
        for digest in [digest for digest, login in self._logins.items() if not self.left_s(login)]:
            self._end(digest)
        while len(self._logins) >= MOST:
            self._end(next(iter(self._logins)))
        token = secrets.token_urlsafe(32)
        self._logins[_digest(token)] = Login(person, self._clock() + LIFETIME_S)
        return token

    def find(self, token: str) -> Login | None:
        """The login of the token, None where there is none or it is over."""
        login = self._logins.get(_digest(token))
        return login if login is not None and self.left_s(login) else None

    def left_s(self, login: Login) -> float:
        """Seconds until the login is over; 0 where it is."""
        return 0.0 if login.ended.is_set() else max(0.0, login.ends_at - self._clock())

    def end(self, token: str) -> None:
        """The login is over now, whoever still has its token."""
        self._end(_digest(token))

    def _end(self, digest: str) -> None:
        if login := self._logins.pop(digest, None):
            login.ended.set()


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
