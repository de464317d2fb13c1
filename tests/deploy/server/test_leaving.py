"""Requests that were given up: no work is begun for them, and what is at work is counted."""

import time
from collections.abc import Callable

import pytest
from flowers import Serve
from held import Held
from starlette.testclient import TestClient
from torch import Tensor

from mlpmixer.deploy.predictor import Picture
from mlpmixer.deploy.server.batching import Overloaded

PREDICT = "/v1/models/flowers/predict"


def on_their_way(client: TestClient) -> int:
    """Return how many pictures the measures say are on their way."""
    name = 'mixer_queue_pictures{model="flowers"} '
    (said,) = [one for one in client.get("/metrics").text.splitlines() if one.startswith(name)]
    return int(float(said.removeprefix(name)))


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_picture_in_the_queue_is_not_computed_once_its_request_is_given_up(
    serve: Serve, pictures: list[bytes], held: Held
) -> None:
    client = serve(load=lambda _: held, seconds=0.5, largest_batch=1)
    for content in pictures[:3]:
        assert client.post(PREDICT, content=content).status_code == 504
    held.may_go.set()
    client.app_state["model"].close()  # computes what was taken on
    assert held.computed <= 1


def test_a_picture_is_not_computed_if_its_request_is_given_up_while_it_is_decoded(
    serve: Serve, pictures: list[bytes], held: Held
) -> None:
    held.slow = True
    client = serve(load=lambda _: held, seconds=0.5)
    files = [("files", (f"{n}.png", one)) for n, one in enumerate(pictures[:2])]
    assert client.post(PREDICT, files=files).status_code == 504
    assert on_their_way(client) == 2  # the two threads are still at them
    held.may_go.set()
    wait_until(lambda: on_their_way(client) == 0)
    client.app_state["model"].close()
    assert held.computed == 0


def test_the_rest_of_a_refused_request_is_not_computed(
    serve: Serve, pictures: list[bytes], held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(load=lambda _: held)
    batcher = client.app_state["model"]._current.batcher
    takes = batcher.submit
    prepare = held.prepare

    def refuse(pixels: Tensor) -> None:
        monkeypatch.setattr(batcher, "submit", takes)
        raise Overloaded

    def prepare_the_first(picture: Picture, name: str | None = None) -> Tensor:
        assert name == "0.png" or held.may_go.wait(30)
        return prepare(picture, name)

    monkeypatch.setattr(batcher, "submit", refuse)
    monkeypatch.setattr(held, "prepare", prepare_the_first)
    files = [("files", (f"{n}.png", one)) for n, one in enumerate(pictures)]
    assert client.post(PREDICT, files=files).status_code == 503
    held.may_go.set()
    wait_until(lambda: on_their_way(client) == 0)
    client.app_state["model"].close()
    assert held.computed == 0
