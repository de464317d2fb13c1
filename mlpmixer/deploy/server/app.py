"""The HTTP application: its routes, the key, what errors are answered by, and its models' watch."""

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from mlpmixer.deploy.server.health_routes import health_routes
from mlpmixer.deploy.server.limits import Limits
from mlpmixer.deploy.server.model_routes import model_routes
from mlpmixer.deploy.server.openapi import ask_for_key
from mlpmixer.deploy.server.page import add_page
from mlpmixer.deploy.server.problems import Problem
from mlpmixer.deploy.server.request_log import RequestLog
from mlpmixer.deploy.server.served_model import ServedModel
from mlpmixer.deploy.server.server_metrics import ServerMetrics
from mlpmixer.errors import MixerError

_log = logging.getLogger("mlpmixer.server")
WATCH_SECONDS = 2.0
"""Between two looks at whether a model's file changed."""


def make_app(
    models: Mapping[str, ServedModel],
    limits: Limits,
    measures: ServerMetrics,
    api_key: str | None = None,
) -> FastAPI:
    """Return the application that answers with some models.

    Args:
        models: by the names that clients call them by.
        limits: what it takes on.
        measures: takes requests; the models report to it too.
        api_key: what a client has to send as `Authorization: Bearer KEY`; None asks for nothing.
    """

    explaining = ThreadPoolExecutor(1, thread_name_prefix="explaining")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(_watch(models))
        yield
        watching.cancel()
        explaining.shutdown()
        for model in models.values():
            await asyncio.to_thread(model.close)

    app = FastAPI(
        title="mixer serve",
        description="Names what is in pictures.",
        lifespan=lifespan,
        docs_url=None,  # its page would load scripts from another host
        redoc_url=None,
    )
    _add_errors(app)
    app.add_middleware(RequestLog, measures=measures)
    app.include_router(health_routes(models, measures))
    app.include_router(
        model_routes(models, limits, explaining), dependencies=[Depends(_key_check(api_key))]
    )
    add_page(app)
    if api_key is not None:
        ask_for_key(app)
    return app


def _key_check(api_key: str | None) -> Callable[[Request], Awaitable[None]]:
    """Return what refuses requests without the key; it comes before all else that is wrong."""

    async def checked(request: Request) -> None:
        if api_key is None:
            return
        sent = request.headers.get("authorization", "").removeprefix("Bearer ")
        # Headers are decoded as Latin-1: this gives back the bytes that came.
        if not hmac.compare_digest(sent.encode("latin-1"), api_key.encode()):
            raise Problem(
                401,
                "the API key is missing or wrong: send `Authorization: Bearer KEY`.",
                {"WWW-Authenticate": "Bearer"},
            )

    return checked


async def _watch(models: Mapping[str, ServedModel]) -> None:
    """Replace models whose files change, for as long as the server runs."""
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        for model in models.values():
            await asyncio.to_thread(refresh, model)


def refresh(model: ServedModel, force: bool = False) -> None:
    """Replace a model if its file changed; where that fails, say so and keep the old one."""
    try:
        if model.refresh(force):
            _log.info("replaced", extra={"facts": {"model": model.name}})
    except Exception as error:  # whatever it is, the old model answers and the watch goes on
        facts = {"model": model.name, "reason": str(error)}
        known = isinstance(error, MixerError)
        _log.error("not replaced", extra={"facts": facts}, exc_info=None if known else error)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> Response:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first: dict[str, Any] = error.errors()[0]
        return Problem(400, f"{first['loc'][-1]}: {first['msg']}.").response()

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        return Problem(error.status_code, f"{error.detail}.", headers).response()

    @app.exception_handler(Exception)
    async def defect(_: Request, error: Exception) -> Response:
        _log.exception("defect", exc_info=error)
        return Problem(500, "the server made a mistake; its log says which.").response()
