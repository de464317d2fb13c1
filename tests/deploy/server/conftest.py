"""A small model, and an application that answers with it."""

import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from flowers import Serve, write_model
from held import Held
from PIL import Image
from starlette.testclient import TestClient

from mlpmixer.deploy.predictor import Predictor
from mlpmixer.deploy.server.app import make_app
from mlpmixer.deploy.server.limits import Limits
from mlpmixer.deploy.server.served_model import ServedModel
from mlpmixer.deploy.server.server_metrics import ServerMetrics


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("served") / "flowers.safetensors")


@pytest.fixture(scope="session")
def pictures() -> list[bytes]:
    """Eight photos' worth of noise, as PNG."""
    random, found = np.random.default_rng(0), []
    for _ in range(8):
        stream = io.BytesIO()
        pixels = random.integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(pixels).resize((40, 30), Image.Resampling.BICUBIC).save(stream, "png")
        found.append(stream.getvalue())
    return found


@pytest.fixture
def held(model_file: Path) -> Iterator[Held]:
    predictor = Held.load(model_file, device="cpu", engine="eager")
    predictor.may_go, predictor.at_work = threading.Event(), threading.Event()
    yield predictor
    predictor.may_go.set()


@pytest.fixture
def serve(model_file: Path) -> Iterator[Serve]:
    """Return what makes a client of an application with some limits."""
    clients: list[TestClient] = []
    decoders = ThreadPoolExecutor(2)

    def make(
        load: Callable[[str], Predictor] | None = None,
        source: Path = model_file,
        api_key: str | None = None,
        **limits: float,
    ) -> TestClient:
        bounds, measures = Limits(**limits), ServerMetrics()  # type: ignore[arg-type]
        chosen = load or (lambda path: Predictor.load(path, device="cpu", engine="eager"))
        model = ServedModel("flowers", str(source), chosen, bounds, decoders, measures)
        client = TestClient(
            make_app({"flowers": model}, bounds, measures, api_key), raise_server_exceptions=False
        )
        client.__enter__()
        client.app_state["model"] = model
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.__exit__(None, None, None)
    decoders.shutdown()
