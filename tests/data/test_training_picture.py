"""A crop is the same whether its part of a picture or the whole of it is decoded."""

import io
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from mlpmixer.data import jpeg, training_picture
from mlpmixer.data.picture import UnreadableImage, training_crop
from mlpmixer.data.splits import FileSplit
from mlpmixer.data.training_picture import TrainingPicture
from mlpmixer.models.preprocessing import Preprocessing

PHOTO = Image.fromarray(load_sample_image("flower.jpg"))  # 640 x 427
MODEL = Preprocessing(image_size=(64, 48))
BOXES = [
    [0.0, 0.0, 1.0, 1.0],
    [0.0, 0.0, 0.001, 0.001],
    [0.999, 0.999, 1.0, 1.0],
    [0.25, 0.0, 0.5, 0.1],
    [0.1, 0.9, 0.2, 1.0],
    [0.377, 0.211, 0.651, 0.803],
    [0.9, 0.3, 1.0, 0.6],
]
KINDS: dict[str, dict[str, object]] = {
    "usual": {},
    "fine colours": {"subsampling": 0},
    "halved across": {"subsampling": 1},
    "progressive": {"progressive": True},
    "RGB inside": {"keep_rgb": True},
    "restarts": {"restart_marker_rows": 1},
    "grey": {"mode": "L"},
    "CMYK": {"mode": "CMYK"},
    **{f"orientation {number}": {"orientation": number} for number in range(1, 9)},
}
needs_the_decoder = pytest.mark.skipif(
    jpeg.region_decoder().functions is None, reason=jpeg.region_decoder().reason
)


def encoded(
    kind: str = "usual", size: tuple[int, int] = (637, 421), form: str = "JPEG", **more: object
) -> bytes:
    options = {**KINDS[kind], **more}
    picture = PHOTO.convert(str(options.pop("mode", "RGB"))).resize(size)
    exif, buffer = Image.Exif(), io.BytesIO()
    if "orientation" in options:
        exif[0x0112] = options.pop("orientation")
        options["exif"] = exif
    picture.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.fixture
def opened(tmp_path: Path):
    """Return what opens some encoded images as pictures to train on."""

    def open_all(*contents: bytes, model: Preprocessing = MODEL) -> list[TrainingPicture]:
        names = [f"{number}.jpg" for number in range(len(contents))]
        for name, content in zip(names, contents, strict=True):
            (tmp_path / name).write_bytes(content)
        split = FileSplit(tmp_path, names, [0] * len(names))
        return [TrainingPicture(split, number, model) for number in range(len(names))]

    return open_all


def crops(picture: TrainingPicture, size: tuple[int, int] = MODEL.image_size) -> torch.Tensor:
    """Return the crops of all boxes, (7, 3, H, W)."""
    found = torch.empty(len(BOXES), 3, *size, dtype=torch.uint8)
    for number, (box, out) in enumerate(zip(BOXES, found, strict=True)):
        picture.crop(box, flip=number % 2 == 1, out=out)
    return found


@pytest.mark.parametrize("size", [(637, 421), (97, 96), (96, 260), (31, 8), (1, 1)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_part_gives_the_crop_of_the_whole(kind: str, size: tuple[int, int], opened) -> None:
    content = encoded(kind, size)
    in_parts, whole = opened(content, content)
    pixels = whole.pixels()
    assert in_parts.size == (pixels.shape[2], pixels.shape[1])
    wanted = [
        training_crop(pixels, box, number % 2 == 1, MODEL.image_size)
        for number, box in enumerate(BOXES)
    ]
    assert torch.equal(crops(in_parts), torch.stack(wanted))


def with_few_colours(across: int, down: int) -> bytes:
    """Return a JPEG whose blocks of colour stand for `across` times `down` of brightness.

    Pillow writes none; as its blocks of RGB are coded alike, the header may take them for others.
    """
    blocks = io.BytesIO()
    PHOTO.crop((0, 0, 320, 160)).save(blocks, "JPEG", keep_rgb=True)  # 3 · 40 · 20 = 10 · 16 · 15
    content = bytearray(blocks.getvalue())
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", 16 * 8 * down, 15 * 8 * across)
    content[frame + 11] = 16 * across + down
    return bytes(content)


@pytest.mark.parametrize("side", [200, 64, 32, 16])  # decoded whole, and at 1/2, 1/4 and 1/8
@pytest.mark.parametrize("sampling", [(4, 2), (2, 4)])
def test_so_it_is_with_few_values_of_colour(sampling: tuple[int, int], side: int, opened) -> None:
    content, model = with_few_colours(*sampling), Preprocessing(image_size=(side, side))
    in_parts, whole = opened(content, content, model=model)
    pixels = whole.pixels()
    for box in BOXES:
        part = torch.empty(3, side, side, dtype=torch.uint8)
        in_parts.crop(box, flip=False, out=part)
        assert torch.equal(part, training_crop(pixels, box, False, (side, side)))


@needs_the_decoder
@pytest.mark.parametrize("kind", ["usual", "fine colours", "progressive", "grey", "orientation 1"])
def test_the_whole_is_not_decoded_for_a_crop(
    kind: str, opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    (picture,) = opened(encoded(kind))
    monkeypatch.setattr(training_picture, "decode_jpeg", lambda *_: pytest.fail("decoded whole"))
    crops(picture)


def test_without_the_decoder_crops_are_the_same(opened, monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded()
    one, other = opened(content, content)
    fast = crops(one)
    with monkeypatch.context() as changed:
        changed.setattr(jpeg, "in_use", False)
        (other,) = opened(content)
        slow = crops(other)
    assert torch.equal(fast, slow)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_other_formats_are_cropped_too(form: str, opened) -> None:
    (picture,) = opened(encoded(form=form, size=(90, 60)))
    assert picture.size == (90, 60)
    assert crops(picture).float().std() > 10


@pytest.mark.parametrize("keep", [0.2, 0.6, 0.999])
def test_a_file_that_is_cut_off_is_unreadable_wherever_the_crop_lies(keep: float, opened) -> None:
    content = encoded()
    (picture,) = opened(content[: int(keep * len(content))])
    with pytest.raises(UnreadableImage, match=r"0\.jpg: truncated"):
        picture.crop([0.0, 0.0, 0.1, 0.1], flip=False, out=torch.empty(3, 9, 9, dtype=torch.uint8))


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"\xff\xd8\xff\xda\0\2\xff\xd9", b"text"])
def test_what_is_no_picture_is_unreadable_when_it_is_opened(content: bytes, opened) -> None:
    with pytest.raises(UnreadableImage, match=r"cannot read .*0\.jpg"):
        opened(content)


@needs_the_decoder
@pytest.mark.parametrize("at", range(0, 700, 23))
def test_flipped_bits_in_the_header_are_told_as_pillow_tells_them(
    at: int, opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytearray(encoded(size=(90, 60)))
    content[at] ^= 0x24

    def outcome() -> torch.Tensor | str:
        try:
            (picture,) = opened(bytes(content))
            pixels = picture.pixels()
            (picture,) = opened(bytes(content))
            found = crops(picture)
        except UnreadableImage as error:
            return str(error)
        wanted = [
            training_crop(pixels, box, number % 2 == 1, MODEL.image_size)
            for number, box in enumerate(BOXES)
        ]
        assert torch.equal(found, torch.stack(wanted))
        return found

    fast = outcome()
    monkeypatch.setattr(jpeg, "in_use", False)
    slow = outcome()
    if isinstance(slow, str):
        assert fast == slow
    else:
        assert isinstance(fast, torch.Tensor)
        assert torch.equal(fast, slow)


@needs_the_decoder
def test_a_second_crop_of_a_copy_decodes_once(opened, monkeypatch: pytest.MonkeyPatch) -> None:
    (picture,) = opened(encoded())
    picture.cropped_again = True
    monkeypatch.setattr(training_picture, "decode_region", lambda *_: pytest.fail("a part"))
    first = crops(picture)
    monkeypatch.setattr(training_picture, "decode_jpeg", lambda *_: pytest.fail("again"))
    assert torch.equal(crops(picture), first)


@needs_the_decoder
@pytest.mark.parametrize("at_least", [8, 50, 100, 213, 214, 1000])
@pytest.mark.parametrize("size", [(637, 421), (8, 9), (1000, 17), (426, 427)])
def test_sizes_are_chosen_as_pillow_chooses_them(size: tuple[int, int], at_least: int) -> None:
    content = encoded(size=size)
    with Image.open(io.BytesIO(content)) as image:
        image.draft(None, (at_least, at_least))
        assert jpeg.plain_size(content, at_least) == image.size


@needs_the_decoder
def test_pillow_looks_where_an_orientation_could_stand_or_colours_are_others() -> None:
    assert jpeg.plain_size(encoded("orientation 1"), 10) is None
    assert jpeg.plain_size(encoded("CMYK"), 10) is None
    assert jpeg.plain_size(encoded()[:500], 10) is None
    assert jpeg.plain_size(encoded(form="PNG"), 10) is None


@needs_the_decoder
def test_a_part_is_refused_in_a_size_that_the_decoder_cannot_deliver() -> None:
    content = encoded(size=(64, 64))
    assert jpeg.decode_region((64, 64), content, (3, 5, 20, 30)) is not None
    assert jpeg.decode_region((63, 64), content, (3, 5, 20, 30)) is None


@needs_the_decoder
def test_threads_do_not_share_the_memory_of_parts() -> None:
    contents = [encoded(size=(200 + number, 150)) for number in range(8)]
    box = (11, 13, 150, 140)

    def part(number: int) -> np.ndarray:
        found = jpeg.decode_region((200 + number, 150), contents[number], box)
        assert found is not None
        return found.copy()

    alone = [part(number) for number in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(part, [*range(8)] * 20))
    assert all(np.array_equal(found, alone[n % 8]) for n, found in enumerate(together))
