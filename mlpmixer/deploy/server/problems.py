"""What a client is told when something cannot be done: RFC 9457's problem details."""

from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel


class ProblemDetails(BaseModel):
    """An error, in a line or two."""

    status: int
    detail: str


class Problem(Exception):
    """An answer that is an error.

    Args:
        status: of HTTP.
        detail: one or two lines: what was wrong, and what to do.
        headers: of the answer.
    """

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers

    def response(self) -> JSONResponse:
        """Return the answer."""
        return JSONResponse(
            ProblemDetails(status=self.status, detail=self.detail).model_dump(),
            self.status,
            self.headers,
            "application/problem+json",
        )


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return how OpenAPI describes these errors."""
    schema = {"schema": ProblemDetails.model_json_schema()}
    titles = {
        400: "The body holds no picture or too many files, or `k` does not fit.",
        401: "The API key is missing or wrong.",
        404: "There is no such model.",
        408: "The body was not complete in time.",
        413: "The body is too large.",
        415: "The body is of a kind that holds no pictures.",
        422: "No picture could be read: damaged, of no known format, or with too many pixels.",
        503: "Too much is on its way; try again after Retry-After seconds.",
        504: "The answer took too long.",
    }
    return {
        status: {"description": titles[status], "content": {"application/problem+json": schema}}
        for status in statuses
    }
