import contextlib
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from mlpmixer.data.picture import UnreadableImage, decode, read_size
from mlpmixer.data.splits import ArraySplit, FileSplit


class Encoded:
    """A split of one image."""

    labels = np.zeros(1, dtype=np.int64)

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __len__(self) -> int:
        return 1

    def encoded(self, index: int) -> bytes:
        return self.content

    def name(self, index: int) -> str:
        return "holiday.jpg"


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> Encoded:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return Encoded(buffer.getvalue())


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_pixels_of_an_array_come_unchanged() -> None:
    pixels = np.asarray(noise(5, 4))
    image = decode(ArraySplit(pixels[None], [0], "array"), 0)
    assert image.size == (5, 4)
    assert (np.asarray(image) == pixels).all()


def test_palette_becomes_rgb() -> None:
    image = Image.new("P", (2, 2), 1)
    image.putpalette([0, 0, 0, 10, 120, 250])
    assert decode(saved(image), 0).getpixel((0, 0)) == (10, 120, 250)


def test_grey_becomes_rgb() -> None:
    assert decode(saved(Image.new("L", (2, 2), 77)), 0).getpixel((1, 1)) == (77, 77, 77)


def test_cmyk_jpeg_becomes_rgb() -> None:
    image = decode(saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"), 0)
    red, green, blue = image.getpixel((8, 8))
    assert red > 240
    assert max(green, blue) < 15


@pytest.mark.parametrize("depth", ["I;16", "I"])
def test_sixteen_bits_are_scaled_to_eight(depth: str) -> None:
    grey = np.array([[0, 257, 32768, 65535]])
    image = Image.fromarray(grey.astype(np.uint16 if depth == "I;16" else np.int32))
    decoded = decode(saved(image, "TIFF"), 0)
    assert np.asarray(decoded)[0, :, 0].tolist() == [0, 1, 128, 255]
    assert decoded.mode == "RGB"


def test_transparent_parts_become_white() -> None:
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 255))
    decoded = decode(saved(image), 0)
    assert decoded.getpixel((0, 0)) == (255, 255, 255)
    assert decoded.getpixel((1, 0)) == (255, 0, 0)


def test_transparent_palette_colour_becomes_white() -> None:
    image = Image.new("P", (2, 1), 1)
    image.putpalette([0, 0, 0, 10, 120, 250])
    image.putpixel((1, 0), 0)
    decoded = decode(saved(image, transparency=1), 0)
    assert decoded.getpixel((0, 0)) == (255, 255, 255)
    assert decoded.getpixel((1, 0)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("orientation", "corner"),
    list(enumerate([(0, 0), (2, 0), (2, 1), (0, 1), (0, 0), (1, 0), (1, 2), (0, 2)], start=1)),
)
def test_photos_are_turned_upright(orientation: int, corner: tuple[int, int]) -> None:
    image = Image.new("RGB", (3, 2))
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = orientation
    split = saved(image, "PNG", exif=exif)
    upright = decode(split, 0)
    assert upright.getpixel(corner) == (255, 255, 255)
    assert upright.size == read_size(split, 0) == ((2, 3) if orientation > 4 else (3, 2))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_make_a_photo_unreadable() -> None:
    exif = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff\x01\x12\x00\x03"
    assert decode(saved(noise(8, 8), "JPEG", exif=exif), 0).size == (8, 8)


def test_large_jpeg_comes_smaller_but_not_smaller_than_asked_for() -> None:
    split = saved(noise(640, 480), "JPEG")
    assert decode(split, 0).size == (640, 480)
    assert decode(split, 0, at_least=100).size == (160, 120)
    assert decode(split, 0, at_least=121).size == (320, 240)
    assert decode(split, 0, at_least=481).size == (640, 480)


def test_truncated_image_is_named_with_the_reason() -> None:
    content = saved(noise(64, 64), "JPEG").content
    with pytest.raises(UnreadableImage, match=r"cannot read holiday\.jpg: truncated"):
        decode(Encoded(content[: len(content) // 2]), 0)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty"), (b"hello", "not an image"), (b"\xff\xd8\xff\xe0", "not an image")],
)
def test_what_is_no_image_is_named_with_the_reason(content: bytes, reason: str) -> None:
    for read in (decode, read_size):
        with pytest.raises(UnreadableImage, match=f"holiday.jpg: .*{reason}"):
            read(Encoded(content), 0)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, on what it can still read
@pytest.mark.parametrize(
    "kind", ["PNG", "WEBP", "GIF", "TIFF", *(["AVIF"] if features.check("avif") else [])]
)
def test_damage_anywhere_gives_an_image_or_an_unreadable_image(kind: str) -> None:
    content = saved(noise(24, 24), kind).content
    chance = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(content)
        for position in chance.integers(0, len(damaged), 4):
            damaged[position] = chance.integers(256)
        with contextlib.suppress(UnreadableImage):
            assert decode(Encoded(bytes(damaged)), 0).mode == "RGB"


def test_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UnreadableImage, match="too many pixels"):
        decode(saved(Image.new("L", (15, 15))), 0)


def test_floating_point_pixels_are_refused_with_a_remedy() -> None:
    with pytest.raises(UnreadableImage, match="8 or 16 bits"):
        decode(saved(Image.new("F", (2, 2), 0.5), "TIFF"), 0)


def test_missing_and_empty_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    split = FileSplit(tmp_path, ["gone.png", "empty.png"], [0, 0])
    for read in (decode, read_size):
        with pytest.raises(UnreadableImage, match=r"gone\.png: No such file"):
            read(split, 0)
        with pytest.raises(UnreadableImage, match=r"empty\.png: it is empty"):
            read(split, 1)


def test_size_of_a_file_needs_only_its_header(tmp_path: Path) -> None:
    content = saved(noise(64, 48), "JPEG").content
    (tmp_path / "cut.jpg").write_bytes(content[:1000])
    assert read_size(FileSplit(tmp_path, ["cut.jpg"], [0]), 0) == (64, 48)


def test_error_survives_the_way_from_a_worker_process() -> None:
    error = pickle.loads(pickle.dumps(UnreadableImage("a.png", "it is empty")))
    assert (error.name, error.reason) == ("a.png", "it is empty")
