"""Small encoded images, and a data home of its own for every test."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

Encode = Callable[..., bytes]


@pytest.fixture(autouse=True)
def data_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the indexes and downloads of a test apart from the user's."""
    home = tmp_path_factory.mktemp("data_home")
    monkeypatch.setenv("MLPMIXER_DATA", str(home))
    return home


@pytest.fixture
def encode() -> Encode:
    """Return a function that gives an encoded image of one colour."""

    def encoded(
        color: object = (200, 30, 60), size: tuple[int, int] = (8, 6), kind: str = "PNG"
    ) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", size, color).save(buffer, kind)
        return buffer.getvalue()

    return encoded
