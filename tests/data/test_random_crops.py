"""How training images are cropped and flipped: the policy, and what each crop shows."""

import numpy as np
import pytest
import torch
from PIL import Image

from mlpmixer.data.image_sizes import common_size
from mlpmixer.data.options import AugmentOptions
from mlpmixer.data.random_crops import RandomCrop, settle_crop
from mlpmixer.data.splits import ArraySplit, FileSplit
from mlpmixer.errors import UsageError


def crop(size=(16, 16), **options) -> RandomCrop:
    return RandomCrop(AugmentOptions(**options), size)


def some_images(count=8, height=16, width=16):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, 3, height, width), dtype=torch.uint8, generator=generator)


def black(count=6, side=8):
    return ArraySplit(np.zeros((count, side, side, 3), dtype=np.uint8), [0] * count, "black")


def test_auto_pads_images_of_the_models_size_and_crops_others():
    options = AugmentOptions(crop_scale=(0.2, 1.0))
    assert settle_crop(options, black(), (8, 8)).crop == "pad"
    assert settle_crop(options, black(), (8, 6)).crop == "inception"
    assert settle_crop(options, black(), (4, 4)).crop == "inception"
    assert settle_crop(options, black(), (4, 4)).crop_scale == (0.2, 1.0)


def test_auto_crops_images_of_many_sizes(tmp_path):
    for name, side in (("a.png", 8), ("b.png", 9)):
        Image.new("RGB", (side, side)).save(tmp_path / name)
    split = FileSplit(tmp_path, ["a.png", "b.png"], [0, 0])
    assert common_size(split) is None
    assert settle_crop(AugmentOptions(), split, (8, 8)).crop == "inception"


@pytest.mark.parametrize("chosen", ["pad", "inception", "none"])
def test_a_crop_that_was_chosen_stays(chosen):
    for size in ((8, 8), (6, 6)):
        options = AugmentOptions(crop=chosen)
        assert settle_crop(options, black(), size) == options


def test_the_common_size_passes_over_unreadable_images(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    Image.new("RGB", (8, 6)).save(tmp_path / "b.png")
    assert common_size(FileSplit(tmp_path, ["a.png", "b.png"], [0, 0])) == (6, 8)
    assert common_size(FileSplit(tmp_path, ["a.png"], [0])) is None


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"flip": 1.5}, "flip 1.5"),
        ({"crop_scale": (0.0, 1.0)}, "crop-scale 0.0 is out of range"),
        ({"crop_scale": (0.9, 0.5)}, "smaller first, --crop-scale 0.5 0.9"),
        ({"pad": 8, "crop": "pad"}, "--pad 7 or less"),
        ({"pad": -1}, "pad -1"),
    ],
)
def test_options_out_of_range_are_refused_by_name(wrong, named):
    with pytest.raises(UsageError, match=named):
        settle_crop(AugmentOptions(**wrong), black(), (8, 8))


def test_a_crop_that_was_not_settled_is_refused():
    with pytest.raises(ValueError, match="settled"):
        RandomCrop(AugmentOptions(), (8, 8))


def test_no_crop_and_no_flip_is_the_identity():
    images, nothing = some_images(), crop(crop="none", flip=0.0)
    assert torch.equal(nothing.apply(images, nothing.draw(8, 0, 0)), images)


def test_flip_always_mirrors_every_image_in_every_kind_of_crop():
    images = some_images()
    for options in ({"crop": "none"}, {"crop": "pad", "pad": 0}):
        always = crop(**options, flip=1.0)
        assert torch.equal(always.apply(images, always.draw(8, 0, 0)), images.flip(3))
    always, never = crop(crop="inception", flip=1.0), crop(crop="inception", flip=0.0)
    mirrored = always.apply(images, always.draw(8, 0, 0))
    assert torch.equal(mirrored, never.apply(images, never.draw(8, 0, 0)).flip(3))


def test_pad_moves_images_by_at_most_its_pixels():
    images, padded = some_images(50), crop(crop="pad", pad=1, flip=0.0)
    pixels = padded.apply(images, padded.draw(50, 0, 0))
    inner = images[..., 2:-2, 2:-2]
    moved = torch.stack(
        [
            (pixels.roll((y, x), (2, 3))[..., 2:-2, 2:-2] == inner).all(dim=(1, 2, 3))
            for y in (-1, 0, 1)
            for x in (-1, 0, 1)
        ]
    )
    assert (moved.sum(dim=0) == 1).all()
    assert moved.any(dim=1).all()


def test_inception_crops_keep_the_asked_area_and_the_shape_of_the_model():
    # Red grows to the right and green downwards, by their whole range.
    across = torch.arange(0, 256, 4, dtype=torch.uint8).expand(64, 1, 64, 64)
    images = torch.cat([across, across.mT, across], dim=1)
    random = crop((16, 32), crop="inception", flip=0.0, crop_scale=(0.2, 0.3))
    pixels = random.apply(images, random.draw(64, 0, 0)).double() / 255
    assert pixels.shape == (64, 3, 16, 32)
    width = (pixels[:, 0, 0, -1] - pixels[:, 0, 0, 0]) * 32 / 31
    height = (pixels[:, 1, -1, 0] - pixels[:, 1, 0, 0]) * 16 / 15
    area, ratio = width * height, width / height
    assert 0.17 < area.min() < 0.23
    assert 0.27 < area.max() < 0.33
    assert 1.35 < ratio.min() < 1.8
    assert 2.2 < ratio.max() < 2.9


@pytest.mark.parametrize("kind", ["none", "pad", "inception"])
def test_draws_follow_from_seed_and_step(kind):
    images, random = some_images(40), crop(crop=kind)

    def shown(seed, step):
        return random.apply(images, random.draw(40, seed, step))

    assert torch.equal(shown(1, 2), shown(1, 2))
    assert not torch.equal(shown(1, 2), shown(1, 3))
    assert not torch.equal(shown(1, 2), shown(2, 2))


@pytest.mark.parametrize("kind", ["none", "pad", "inception"])
def test_a_part_of_a_batch_is_cropped_like_the_whole(kind):
    images, random = some_images(40, 20, 20), crop((20, 20), crop=kind)
    draws = random.draw(40, 0, 0)
    whole = random.apply(images, draws)
    for begin, end in ((0, 7), (7, 40)):
        part = random.apply(images[begin:end], draws.part(slice(begin, end)))
        assert torch.equal(part, whole[begin:end])
