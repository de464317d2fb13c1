"""What is asked of the server itself: whether it lives, is ready, and what it measured."""

from collections.abc import Mapping

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from mlpmixer.deploy.server.openapi import OPEN
from mlpmixer.deploy.server.served_model import ServedModel
from mlpmixer.deploy.server.server_metrics import ServerMetrics


def health_routes(models: Mapping[str, ServedModel], measures: ServerMetrics) -> APIRouter:
    """Return the paths that are answered without a key.

    Args:
        models: by the names that clients call them by.
        measures: of the requests.
    """
    router = APIRouter()

    @router.get("/healthz", summary="Whether the process answers", openapi_extra=OPEN)
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/readyz", summary="Whether models are loaded", openapi_extra=OPEN)
    async def readyz() -> dict[str, list[str]]:
        return {"models": sorted(models)}

    @router.get(
        "/metrics",
        summary="Measures for Prometheus",
        response_class=PlainTextResponse,
        openapi_extra=OPEN,
    )
    async def metrics() -> Response:
        return Response(measures.text(), media_type="text/plain; version=0.0.4")

    return router
