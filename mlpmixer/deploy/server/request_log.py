"""A line in the log, and a place in the measures, for every request."""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlpmixer.deploy.server.server_metrics import ServerMetrics

_log = logging.getLogger("mlpmixer.server")


class RequestLog:
    """Passes requests on, and notes how they were answered.

    Plain ASGI: Starlette's middleware of functions starts tasks and a stream for each request.

    Args:
        app: what answers; it puts the name of the model that was asked into the request's state.
        measures: takes the requests to models.
    """

    def __init__(self, app: ASGIApp, measures: ServerMetrics) -> None:
        self._app = app
        self._measures = measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        begun, status = time.monotonic(), 500  # what a defect is answered by

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            self._note(scope, status, time.monotonic() - begun, state.get("model", ""))

    def _note(self, scope: Scope, status: int, seconds: float, model: str) -> None:
        if model:
            self._measures.answered(model, status, seconds)
        facts = {
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "milliseconds": round(seconds * 1000, 2),
        }
        _log.info("request", extra={"facts": facts})
