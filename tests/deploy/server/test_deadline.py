"""The time that a request has: one for its body and its answer, and each is told which was late."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest
from flowers import Serve
from starlette.testclient import TestClient

PREDICT, EXPLAIN = (f"/v1/models/flowers/{verb}" for verb in ("predict", "explain"))
Receive = Callable[[], Awaitable[dict[str, Any]]]


class Answer(NamedTuple):
    status: int
    headers: dict[bytes, bytes]
    detail: str


async def asked(client: TestClient, path: str, receive: Receive) -> Answer:
    """Return the answer to a POST whose body comes from `receive`, as a server would ask for it."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        **{"type": "http", "http_version": "1.1", "method": "POST", "scheme": "http"},
        **{"path": path, "raw_path": path.encode(), "root_path": "", "query_string": b""},
        "headers": [(b"content-type", b"image/png")],
    }
    await client.app(scope, receive, send)
    start, *parts = sent
    body = json.loads(b"".join(one["body"] for one in parts))
    return Answer(start["status"], dict(start["headers"]), body.get("detail", ""))


@pytest.mark.parametrize("path", [PREDICT, EXPLAIN])
def test_a_body_that_is_late_is_told_so_and_its_connection_closed(serve: Serve, path: str) -> None:
    async def never() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    answer = asyncio.run(asked(serve(seconds=0.2), path, never))
    assert answer.status == 408
    assert answer.detail.startswith("the body was not complete within 0.2 s")
    assert answer.headers[b"connection"] == b"close"


@pytest.mark.parametrize("path", [PREDICT, EXPLAIN])
def test_what_the_body_took_is_gone_for_the_answer(
    serve: Serve, pictures: list[bytes], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask() -> Answer:
        loop = asyncio.get_running_loop()

        async def all_but_too_late() -> dict[str, Any]:
            now = loop.time
            monkeypatch.setattr(loop, "time", lambda: now() + 100)  # the body took 100 s
            return {"type": "http.request", "body": pictures[0], "more_body": False}

        return await asked(serve(seconds=100), path, all_but_too_late)

    answer = asyncio.run(ask())
    assert (answer.status, answer.detail) == (504, "the answer took more than 100 s.")
