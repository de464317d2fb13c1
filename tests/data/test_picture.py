import contextlib
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features
from sklearn.datasets import load_sample_image
from torchvision.transforms import v2

from mlpmixer.data.picture import (
    UnreadableImage,
    as_picture,
    as_tensor,
    decode,
    evaluation_crop,
    picture_for,
    read_size,
)
from mlpmixer.data.splits import ArraySplit, FileSplit
from mlpmixer.models.preprocessing import Preprocessing


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


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "corner"),
    list(enumerate([(0, 0), (2, 0), (2, 1), (0, 1), (0, 0), (1, 0), (1, 2), (0, 2)], start=1)),
)
def test_photos_are_turned_upright(orientation: int, corner: tuple[int, int], kind: str) -> None:
    image = Image.new("RGB", (3, 2))
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if kind == "WEBP" else {}
    split = saved(image, kind, exif=exif, **lossless)
    upright = decode(split, 0)
    assert upright.getpixel(corner) == (255, 255, 255)
    assert upright.size == read_size(split, 0) == ((2, 3) if orientation > 4 else (3, 2))


@pytest.mark.parametrize(
    "other",
    [
        b"\x01\x3b\x00\x0b\x00\x00\x00\x01\x41\x00\x00\x00",  # an artist who is a number
        b"\x01\x1a\x00\x02\x00\x00\x00\x02a\x00\x00\x00",  # a resolution that is a letter
        b"\x88\x25\x00\x08\x00\x00\x00\x01\xac\x97\x00\x00",  # a place before the start
    ],
)
def test_a_photo_is_turned_upright_though_another_tag_is_broken(other: bytes) -> None:
    turn = b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00"  # orientation 6
    block = b"MM\x00*\x00\x00\x00\x08\x00\x02" + turn + other + bytes(4)
    split = saved(noise(24, 16), "JPEG", exif=b"Exif\x00\x00" + block)
    assert decode(split, 0).size == read_size(split, 0) == (16, 24)


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


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("size", [(640, 480), (481, 333), (100, 901), (47, 48)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_the_header_tells_the_size_of_what_is_decoded(
    kind: str, size: tuple[int, int], orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    split = saved(noise(*size), kind, exif=exif)
    for at_least in (None, 48, 100):
        decoded = decode(split, 0, at_least=at_least)
        assert decoded.size == read_size(split, 0, at_least=at_least)
        assert min(decoded.size) >= min(*size, at_least or 1000)
        if at_least is not None:
            assert min(decoded.size) <= max(2 * at_least, min(size) / 8 + 1)


def test_reduction_keeps_the_whole_picture_in_place() -> None:
    # 100 pixels do not split into whole blocks of 3: the ramp still reaches from edge to edge.
    ramp = np.broadcast_to(np.linspace(0, 255, 100)[None, :, None], (100, 100, 3)).astype(np.uint8)
    reduced = np.asarray(decode(saved(Image.fromarray(ramp)), 0, at_least=30))[0, :, 0].astype(int)
    assert len(reduced) == 33
    centres = (np.arange(33) + 0.5) / 33 * 100 - 0.5
    assert np.abs(reduced - centres / 99 * 255).max() < 2


def photo(box: tuple[int, int, int, int], kind: str) -> bytes:
    picture = Image.fromarray(load_sample_image("flower.jpg")).crop(box)
    return saved(picture, kind, **{"quality": 92} if kind == "JPEG" else {}).content


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("box", [(0, 0, 640, 320), (100, 0, 512, 412), (10, 3, 330, 423)])
@pytest.mark.parametrize("side", [224, 112, 56, 28])
def test_an_evaluation_crop_is_torchvisions_resize_and_centre_crop(
    side: int, box: tuple[int, int, int, int], kind: str
) -> None:
    content = photo(box, kind)
    steps = v2.Compose([v2.Resize(side * 8 // 7), v2.CenterCrop(side), v2.PILToTensor()])
    expected = steps(Image.open(io.BytesIO(content)).convert("RGB"))
    model = Preprocessing(image_size=(side, side))
    found = evaluation_crop(picture_for(Encoded(content), 0, model), model)
    differences = (found.int() - expected.int()).abs().double()
    if side >= 112:  # not reduced before
        assert differences.max() <= 1
    assert differences.mean() < 1.3
    assert differences.flatten().quantile(0.99) < 9


def test_an_evaluation_crop_keeps_a_picture_of_the_models_size_whole() -> None:
    model = Preprocessing(image_size=(6, 9))
    picture = noise(9, 6)
    assert (evaluation_crop(picture, model).permute(1, 2, 0).numpy() == np.asarray(picture)).all()


@pytest.mark.parametrize("share", [1.0, 0.5, 0.875])
@pytest.mark.parametrize(("width", "height"), [(37, 11), (11, 37), (3, 3), (255, 160)])
def test_an_evaluation_crop_is_the_share_of_the_largest_central_box(
    width: int, height: int, share: float
) -> None:
    # Red grows to the right and green downwards by one a pixel.
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    ramp = np.stack([x, y, 0 * x], axis=2).astype(np.uint8)
    model = Preprocessing(image_size=(10, 20), crop_share=share)
    red, green, _ = evaluation_crop(Image.fromarray(ramp), model).double()
    assert red.shape == (10, 20)
    scale = share * min(width / 20, height / 10)
    if scale >= 1:  # the outermost samples lie half a step inside of the box
        assert (red[0, -1] - red[0, 0]).item() == pytest.approx(19 * scale, abs=2.5)
        assert (green[-1, 0] - green[0, 0]).item() == pytest.approx(9 * scale, abs=2.5)
    assert red.mean().item() == pytest.approx((width - 1) / 2, abs=0.6)
    assert green.mean().item() == pytest.approx((height - 1) / 2, abs=0.6)


def test_a_picture_survives_the_way_into_a_tensor_and_back() -> None:
    picture = noise(7, 5)
    assert (np.asarray(as_picture(as_tensor(picture))) == np.asarray(picture)).all()


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
