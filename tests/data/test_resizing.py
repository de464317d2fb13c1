"""Parts of pictures are resized as Pillow does it, by every way of computing it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_image

from mlpmixer.data import resizing
from mlpmixer.data.resizing import native_resize, resized, resized_by_torch
from mlpmixer.native_library import Library

PHOTO = torch.tensor(load_sample_image("china.jpg")).permute(2, 0, 1)  # (3, 427, 640)
needs_the_library = pytest.mark.skipif(
    native_resize().functions is None, reason=native_resize().reason
)
sides = st.integers(1, 90)


def by_pillow(part: torch.Tensor, flip: bool, size: tuple[int, int]) -> torch.Tensor:
    picture = Image.fromarray(np.ascontiguousarray(part.permute(1, 2, 0).numpy()))
    found = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    if flip:
        found = found.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return torch.from_numpy(np.array(found)).permute(2, 0, 1)


@given(
    noise=st.booleans(),
    part=st.tuples(sides, sides),
    size=st.tuples(sides, sides),
    flip=st.booleans(),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_it_is_pillows_to_one_grey_level(
    noise: bool, part: tuple[int, int], size: tuple[int, int], flip: bool
) -> None:
    pixels = PHOTO[:, 40 : 40 + part[0], 60 : 60 + part[1]]
    if noise:
        generator = torch.Generator().manual_seed(part[0])
        pixels = torch.randint(0, 2, (3, *part), generator=generator, dtype=torch.uint8) * 255
    wanted = by_pillow(pixels, flip, size)
    for way in (resized, resized_by_torch):
        assert (way(pixels, flip, size).int() - wanted.int()).abs().max() <= 1


@needs_the_library
@given(
    part=st.tuples(st.integers(1, 420), st.integers(1, 420)),
    size=st.tuples(sides, sides),
    flip=st.booleans(),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_processors_vectors_change_no_bit(
    part: tuple[int, int], size: tuple[int, int], flip: bool
) -> None:
    pixels = PHOTO[:, : part[0], : part[1]]
    fast = resized(pixels, flip, size)
    resizing.with_vectors = False
    try:
        assert torch.equal(fast, resized(pixels, flip, size))
    finally:
        resizing.with_vectors = True


@pytest.mark.parametrize("value", [0, 1, 127, 254, 255])
@pytest.mark.parametrize("part", [(1, 1), (7, 300), (400, 33)])
def test_one_colour_stays_that_colour(value: int, part: tuple[int, int]) -> None:
    pixels = torch.full((3, *part), value, dtype=torch.uint8)
    assert (resized(pixels, False, (40, 31)) == value).all()


def test_the_same_size_changes_nothing() -> None:
    part = PHOTO[:, 100:164, 200:248]
    assert torch.equal(resized(part, False, (64, 48)), part)
    assert torch.equal(resized(part, True, (64, 48)), part.flip(2))


def test_every_order_in_memory_gives_the_same() -> None:
    part = PHOTO[:, 10:200, 33:301]
    wanted = resized(part, False, (50, 60))
    for other in (part.contiguous(), part.flip(1).flip(1), part.transpose(1, 2).contiguous().mT):
        assert torch.equal(resized(other, False, (50, 60)), wanted)


def test_the_result_lies_where_it_is_wanted() -> None:
    out = torch.zeros(3, 3, 20, 30, dtype=torch.uint8)
    assert resized(PHOTO, False, (20, 30), out=out[1]).data_ptr() == out[1].data_ptr()
    assert out[1].any()
    assert not out[0].any()
    assert not out[2].any()


@pytest.mark.parametrize(
    "out",
    [
        torch.zeros(3, 30, 20, dtype=torch.uint8).mT,
        torch.zeros(3, 20, 31, dtype=torch.uint8),
        torch.zeros(3, 20, 30),
        torch.zeros(3, 20, 30, dtype=torch.uint8, device="meta"),
    ],
    ids=["strides", "size", "type", "device"],
)
def test_a_place_of_another_kind_is_refused(out: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"contiguous uint8 \(3, 20, 30\) on the CPU expected"):
        resized(PHOTO, False, (20, 30), out=out)


def test_another_default_device_changes_nothing() -> None:
    wanted = resized(PHOTO, False, (20, 30))
    with torch.device("meta"):
        assert torch.equal(resized(PHOTO, False, (20, 30)), wanted)


def test_without_the_library_torch_resizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resizing, "native_resize", lambda: Library(None, "not built"))
    out = torch.empty(3, 20, 30, dtype=torch.uint8)
    resized(PHOTO, True, (20, 30), out=out)
    assert torch.equal(out, resized_by_torch(PHOTO, True, (20, 30)))
