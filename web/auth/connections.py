"""Bounds on connections: a client that opens many, or sends slowly, takes no room from others.

uvicorn itself waits without end for the headers of a request, and each waiting connection holds a file handle.
"""

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from web.auth.clients import Network, client, peer, within

HEADERS_S = 10.0  # from the first byte of a connection or request to the end of its headers
OF_ONE_CLIENT = 100  # a browser has six connections and one more for each tab
OF_ALL = 500  # below the 1,024 file handles that a process usually has


class Bounded(H11Protocol):
    """One connection. `proxies` have no bound of their own: they carry the connections of everybody."""

    proxies: ClassVar[Sequence[Network]] = ()
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        everybody = [getattr(each, "client", None) for each in self.server_state.connections]
        same = sum(_whose(each) == _whose(self.client) for each in everybody)
        bound = OF_ALL if within(peer({"client": self.client}), self.proxies) else OF_ONE_CLIENT
        if len(everybody) > OF_ALL or same > bound:
            transport.abort()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Between requests the time runs on whatever comes; a single byte now and then does not renew it."""
        if not self._waits():
            self._forget()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEADERS_S, self._end)

    def _waits(self) -> bool:
        """Whether it is the client's turn: no request is in work."""
        return self.transport.get_protocol() is self and (self.cycle is None or self.cycle.response_complete)

    def _end(self) -> None:
        self._deadline = None
        if self._waits():
            self.transport.abort()

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def bounded(proxies: Sequence[Network]) -> type[Bounded]:
    """The HTTP protocol for uvicorn, which makes one for each connection and has no place for arguments of ours."""
    return type("Bounded", (Bounded,), {"proxies": proxies})


def _whose(address: tuple[str, int] | None) -> str:
    return client({"client": address}, ())
