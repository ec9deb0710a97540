"""Login sessions: a random token in a cookie, valid for 12 hours, until logout or until the server restarts.

Sessions are kept in memory only: nothing on disk grants access.
"""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

LIFETIME_S = 12 * 3600
MAX_LOGINS = 10_000  # the oldest is ended when one more is added


@dataclass(frozen=True)
class Login:
    """One login. `user` is the name given at login or ""; `ended` is set at logout."""

    user: str
    ends_at: float
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Logins:
    """All logins of one server. Only digests of tokens are kept."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._logins: dict[str, Login] = {}

    def begin(self, user: str) -> str:
        """Start a login and return its token."""
        for digest in [digest for digest, login in self._logins.items() if not self.left_s(login)]:
            self._end(digest)
        while len(self._logins) >= MAX_LOGINS:
            self._end(next(iter(self._logins)))
        token = secrets.token_urlsafe(32)
        self._logins[_digest(token)] = Login(user, self._clock() + LIFETIME_S)
        return token

    def find(self, token: str) -> Login | None:
        """The valid login of the token, or None."""
        login = self._logins.get(_digest(token))
        return login if login is not None and self.left_s(login) else None

    def left_s(self, login: Login) -> float:
        """Seconds until the login expires; 0 if it has ended."""
        return 0.0 if login.ended.is_set() else max(0.0, login.ends_at - self._clock())

    def end(self, token: str) -> None:
        """End the login of the token."""
        self._end(_digest(token))

    def _end(self, digest: str) -> None:
        if login := self._logins.pop(digest, None):
            login.ended.set()


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
