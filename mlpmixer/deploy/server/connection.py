"""Connections that bring no request are closed: each takes one of a bounded number of files.

uvicorn waits only a few seconds for the next request, but without end for the first one, and for
the rest of one that has begun.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class _BoundedConnection(HttpToolsProtocol):
    """A connection that is closed where the head of a request is not complete in time."""

    seconds: float
    _timer: asyncio.TimerHandle | None = None
    _last: Any = None
    """The request whose head was complete last; None before the first one."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request; what follows an answer counts towards the next one."""
        super().data_received(data)
        if self.cycle is not self._last:
            self._stop_waiting()
            self._last = self.cycle
        if self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._timer = self.loop.call_later(self.seconds, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def bounded_connection(seconds: float) -> type[asyncio.Protocol]:
    """Return the connections of a server whose clients send a request's head within some time."""
    return type("BoundedConnection", (_BoundedConnection,), {"seconds": seconds})
