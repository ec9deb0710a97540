"""Limits on connections per client and on the time to send request headers.

uvicorn waits without limit for the headers of a request, and each waiting connection holds a file handle.
"""

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from web.auth.clients import Network, client, peer, within

HEADERS_S = 10.0  # from the first byte of a connection or request to the end of its headers
MAX_PER_CLIENT = 100  # a browser opens six connections and one more for each tab
MAX_TOTAL = 500  # below the 1,024 file handles that a process usually has


class BoundedConnection(H11Protocol):
    """An HTTP connection with limits. `proxies` have no limit per client: they carry the connections of all clients."""

    proxies: ClassVar[Sequence[Network]] = ()
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        clients = [getattr(each, "client", None) for each in self.server_state.connections]
        same = sum(_client_of(each) == _client_of(self.client) for each in clients)
        limit = MAX_TOTAL if within(peer({"client": self.client}), self.proxies) else MAX_PER_CLIENT
        if len(clients) > MAX_TOTAL or same > limit:
            transport.abort()
        else:
            self._update_deadline()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._update_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_deadline()
        super().connection_lost(exc)

    def _update_deadline(self) -> None:
        """Start the deadline when the client has to send a request. Received bytes do not extend it."""
        if not self._awaits_request():
            self._cancel_deadline()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEADERS_S, self._abort_if_late)

    def _awaits_request(self) -> bool:
        """Whether no request is being processed."""
        return self.transport.get_protocol() is self and (self.cycle is None or self.cycle.response_complete)

    def _abort_if_late(self) -> None:
        self._deadline = None
        if self._awaits_request():
            self.transport.abort()

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def bounded_protocol(proxies: Sequence[Network]) -> type[BoundedConnection]:
    """The protocol class for uvicorn, which creates one instance per connection and passes no extra arguments."""
    return type("BoundedConnection", (BoundedConnection,), {"proxies": proxies})


def _client_of(address: tuple[str, int] | None) -> str:
    return client({"client": address}, ())
