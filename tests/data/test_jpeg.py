"""JPEGs are decoded to the pixels that Pillow gives, whoever decodes."""

import io
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from mlpmixer.data import jpeg
from mlpmixer.data.picture import UnreadableImage, from_bytes, pixels_for
from mlpmixer.data.training_picture import TrainingPicture
from mlpmixer.models.preprocessing import Preprocessing

pytest.importorskip("simplejpeg")

PHOTO = Image.fromarray(load_sample_image("flower.jpg"))  # 640 x 427
CASES: dict[str, dict[str, object]] = {
    "usual": {},
    "fine colours": {"subsampling": 0},
    "halved across": {"subsampling": 1},
    "progressive": {"progressive": True},
    "coarse": {"quality": 20},
    "RGB inside": {"keep_rgb": True},
    **{f"orientation {number}": {"orientation": number} for number in range(2, 9)},
}


class One:
    """A split of one image."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.labels = np.zeros(1, dtype=np.int64)

    def __len__(self) -> int:
        return 1

    def encoded(self, index: int) -> bytes:
        return self.content

    def sizes(self) -> np.ndarray:
        return np.array([len(self.content)])

    def name(self, index: int) -> str:
        return "photo.jpg"


def encoded(mode: str = "RGB", orientation: int = 1, **options: object) -> bytes:
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    PHOTO.convert(mode).crop((0, 0, 637, 421)).save(
        buffer,
        "JPEG",
        exif=exif,
        **options,
    )
    return buffer.getvalue()


def both(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> tuple[object, object]:
    """Return what `act` does with and without the decoder beside Pillow's."""
    fast = act()
    with monkeypatch.context() as changed:
        changed.setattr(jpeg, "in_use", False)
        return fast, act()


@pytest.mark.parametrize("case", [*CASES, "grey", "CMYK"])
def test_pixels_are_pillows(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = {"grey": "L", "CMYK": "CMYK"}
    content = encoded(modes.get(case, "RGB"), **CASES.get(case, {}))  # type: ignore[arg-type]
    for at_least in (None, 300, 150, 100, 60, 20):
        decode = partial(from_bytes, content, "photo", at_least=at_least)
        fast, slow = both(monkeypatch, decode)
        assert np.array_equal(np.asarray(fast), np.asarray(slow))
    for side in (400, 100, 40):
        model = Preprocessing(image_size=(side, side))
        for act in (pixels_for, lambda *of: TrainingPicture(*of).pixels()):
            fast, slow = both(monkeypatch, partial(act, One(content), 0, model))
            assert isinstance(fast, torch.Tensor)
            assert isinstance(slow, torch.Tensor)
            assert torch.equal(fast, slow)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_decoder_beside_pillows_is_used(mode: str) -> None:
    content = encoded(mode)
    with Image.open(io.BytesIO(content)) as image:
        assert jpeg.decode_jpeg(image, content) is not None


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_damage_is_told_as_without_it(keep: float, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = encoded()
    content = whole[: int(keep * len(whole))]

    def reason() -> str:
        with pytest.raises(UnreadableImage) as caught:
            from_bytes(content, "photo")
        return str(caught.value)

    fast, slow = both(monkeypatch, reason)
    assert fast == slow
    assert "truncated" in str(fast)


def test_bytes_behind_the_picture_and_flipped_bits_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = encoded()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0x10
    for content in (whole + b"\0" * 100, bytes(flipped)):
        fast, slow = both(monkeypatch, partial(from_bytes, content, "photo"))
        assert np.array_equal(np.asarray(fast), np.asarray(slow))
