"""Pictures of 16 bits a value: what becomes of them, and what is said of dark ones."""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpmixer.data.picture import decode, picture_for
from mlpmixer.data.splits import ArraySplit, FileSplit
from mlpmixer.data.value_range import darkness
from mlpmixer.errors import UsageError
from mlpmixer.models.preprocessing import Preprocessing
from mlpmixer.models.registry import create_model
from mlpmixer.weights.checkpoint import load


def png(values: np.ndarray) -> bytes:
    """Return a PNG of 16 bits of values (H, W, C): grey, grey and alpha, RGB or RGBA."""
    height, width, channels = values.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )


def tiff(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values[..., 0]).save(buffer, "TIFF")
    return buffer.getvalue()


def split(folder: Path, *contents: bytes) -> FileSplit:
    names = [f"{number}.png" for number in range(len(contents))]
    for name, content in zip(names, contents, strict=True):
        (folder / name).write_bytes(content)
    return FileSplit(folder, names, [0] * len(names))


RAMP = np.linspace(100, 4000, 64).round().astype(np.uint16).reshape(8, 8, 1)  # 12 bits


def layers(channels: int) -> np.ndarray:
    """Return a ramp in each colour; alpha is opaque."""
    values = np.repeat(RAMP, channels, axis=2)
    if channels in (2, 4):
        values[..., -1] = 65535
    return values


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_full_keeps_the_scale_and_range_stretches_it(tmp_path: Path, channels: int) -> None:
    one = split(tmp_path, png(layers(channels)))
    full = np.asarray(decode(one, 0))
    assert full.shape == (8, 8, 3)
    assert np.abs(full - RAMP / 257.0).max() <= 1
    stretched = np.asarray(decode(one, 0, sixteen_bit="range"))
    expected = (RAMP - 100.0) * (255 / 3900)
    assert np.abs(stretched - expected).max() <= 1
    assert len(np.unique(stretched)) > 60
    wanted = Preprocessing(image_size=(8, 8), sixteen_bit="range")
    assert (np.asarray(picture_for(one, 0, wanted)) == stretched).all()


def test_tiff_is_stretched_too(tmp_path: Path) -> None:
    stretched = np.asarray(decode(split(tmp_path, tiff(RAMP)), 0, sixteen_bit="range"))
    assert (stretched.min(), stretched.max()) == (0, 255)


def test_colours_keep_their_proportions(tmp_path: Path) -> None:
    values = np.zeros((2, 2, 3), np.uint16)
    values[0, 0], values[1, 1] = (4000, 2000, 1000), (1000, 0, 0)
    stretched = np.asarray(decode(split(tmp_path, png(values)), 0, sixteen_bit="range"))
    assert stretched[0, 0].tolist() == [255, 128, 64]
    assert stretched[1, 1].tolist() == [64, 0, 0]


def test_a_picture_of_one_value_and_eight_bits_stay_as_they_are(tmp_path: Path) -> None:
    plain = split(tmp_path, png(np.full((4, 4, 1), 300, np.uint16)))
    assert np.asarray(decode(plain, 0, sixteen_bit="range")).max() == 0
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), 7, np.uint8)).save(buffer, "PNG")
    assert np.asarray(decode(split(tmp_path, buffer.getvalue()), 0, sixteen_bit="range")).max() == 7


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pictures_that_use_few_of_their_bits_are_remarked(tmp_path: Path, channels: int) -> None:
    remark = darkness({"train": split(tmp_path, *[png(layers(channels))] * 40)})
    assert "16 bits a value and use 12 of them" in remark
    assert "--sixteen-bit range" in remark


def test_pictures_that_use_their_range_are_not_remarked(tmp_path: Path) -> None:
    bright = png((layers(1).astype(int) * 16).astype(np.uint16))
    assert not darkness({"train": split(tmp_path, *[png(layers(1))] * 9, bright)})
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG")
    assert not darkness({"train": split(tmp_path, buffer.getvalue(), b"damaged", b"")})
    pixels = ArraySplit(np.zeros((2, 4, 4, 3), np.uint8), [0, 1], "x")
    assert not darkness({"train": pixels})


def test_the_choice_is_saved_with_the_weights(tmp_path: Path) -> None:
    model = create_model("mixer_nano", image_size=8, num_classes=2, patch_size=4, depth=1)
    model.preprocessing = Preprocessing(image_size=(8, 8), crop_share=1.0, sixteen_bit="range")
    model.save(tmp_path / "model.safetensors")
    assert load(tmp_path / "model.safetensors").preprocessing == model.preprocessing


def test_another_choice_is_refused() -> None:
    with pytest.raises(UsageError, match=r"unknown sixteen-bit 'half'\. Known: full, range"):
        Preprocessing(image_size=(8, 8), sixteen_bit="half")  # type: ignore[arg-type]


def test_a_huge_picture_is_named_in_one_line(tmp_path: Path) -> None:
    for name in ("a/huge.png", "a/small.png", "b/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        side = 9600 if "huge" in name else 8
        Image.new("1", (side, side)).save(tmp_path / name)
    command = [sys.executable, "-m", "mlpmixer.cli.main", "data", str(tmp_path), "--verify"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (line,) = done.stderr.splitlines()
    assert f"{tmp_path}/a/huge.png has 92 megapixels (9600x9600)" in line
