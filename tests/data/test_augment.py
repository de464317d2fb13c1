import pytest
import torch

from mlpmixer.data.augment import Augmenter, normalize, prepare
from mlpmixer.data.crops import central_boxes, extract, random_flips, random_offsets
from mlpmixer.data.options import AugmentOptions
from mlpmixer.data.randaugment import rand_augment
from mlpmixer.errors import UsageError

EVERYTHING = AugmentOptions(
    randaugment_operations=2, mixup_alpha=0.5, mixup_probability=0.5, cutmix_alpha=1.0, erase=0.5
)
NOTHING = AugmentOptions(crop="none", flip=0.0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def some_images(count=8, height=16, width=16):
    images = torch.randint(256, (count, 3, height, width), dtype=torch.uint8, generator=generator())
    return images, torch.arange(count) % 4


def augment(options, images, labels, seed=0, size=(16, 16), aspect_ratios=None):
    return Augmenter(options, size, 4)(images, labels, generator(seed), aspect_ratios)


def test_normalize_maps_the_range_of_bytes_to_minus_one_to_one():
    values = normalize(torch.tensor([0, 51, 255], dtype=torch.uint8))
    torch.testing.assert_close(values, torch.tensor([-1.0, -0.6, 1.0]))


def test_normalize_refuses_floats():
    with pytest.raises(ValueError, match="uint8"):
        normalize(torch.zeros(3))


def test_prepare_uses_an_image_of_the_models_size_whole():
    images, _ = some_images()
    assert torch.equal(prepare(images, (16, 16)), normalize(images))


def test_prepare_crops_the_centre_of_a_larger_image():
    images, _ = some_images(2, 32, 64)
    cut = extract(images, central_boxes(torch.tensor([2.0, 2.0])), (16, 16))
    assert torch.equal(prepare(images, (16, 16)), normalize(cut))


def test_prepare_undoes_the_squashing_of_stored_images():
    # A ramp over a 2:1 image, squashed: the central square sees its middle half, less 1/8.
    ramp = torch.arange(0, 256, 4, dtype=torch.uint8).expand(1, 3, 64, 64).contiguous()
    seen = prepare(ramp, (28, 28), torch.tensor([2.0]))
    step = (seen[..., -1] - seen[..., 0]).mean() / 27 * 28
    assert step.item() == pytest.approx(7 / 8, abs=0.02)  # of a range of 2, half


def test_everything_off_is_the_identity():
    images, labels = some_images()
    pixels, targets = augment(NOTHING, images, labels)
    assert torch.equal(pixels, normalize(images))
    assert torch.equal(targets, torch.eye(4)[labels])


def test_crop_none_is_the_evaluation_crop_for_other_sizes():
    images, labels = some_images(4, 24, 32)
    pixels, _ = augment(NOTHING, images, labels)
    assert torch.equal(pixels, prepare(images, (16, 16)))


def test_flip_always_mirrors_every_image_in_every_kind_of_crop():
    images, labels = some_images()
    for options in (
        AugmentOptions(crop="none", flip=1.0),
        AugmentOptions(crop="pad", pad=0, flip=1.0),
    ):
        pixels, _ = augment(options, images, labels)
        assert torch.equal(pixels, normalize(images.flip(3)))
    always, _ = augment(AugmentOptions(crop="inception", flip=1.0), images, labels)
    never, _ = augment(AugmentOptions(crop="inception", flip=0.0), images, labels)
    assert torch.equal(always, never.flip(3))


def test_auto_pads_images_of_the_models_size_and_crops_others():
    for size, crop in ((16, "pad"), (24, "inception")):
        images, labels = some_images(8, size, size)
        automatic, _ = augment(AugmentOptions(), images, labels)
        chosen, _ = augment(AugmentOptions(crop=crop), images, labels)
        assert torch.equal(automatic, chosen)
        assert not torch.equal(automatic, prepare(images, (16, 16)))


def test_pad_moves_images_by_at_most_its_pixels():
    images, labels = some_images(50)
    pixels, _ = augment(AugmentOptions(crop="pad", pad=1, flip=0.0), images, labels)
    inner = normalize(images)[..., 2:-2, 2:-2]
    moved = torch.stack(
        [
            (pixels.roll((y, x), (2, 3))[..., 2:-2, 2:-2] == inner).all(dim=(1, 2, 3))
            for y in (-1, 0, 1)
            for x in (-1, 0, 1)
        ]
    )
    assert (moved.sum(dim=0) == 1).all()
    assert moved.any(dim=1).all()


def test_inception_crops_follow_the_original_aspect_ratios():
    # Across the width, a squashed 4:1 panorama varies at least 3 times as fast as it shows.
    ramp = torch.arange(0, 256, 4, dtype=torch.uint8).expand(64, 3, 64, 64).contiguous()
    options = AugmentOptions(crop="inception", flip=0.0, crop_scale=(0.2, 1.0))
    for aspect_ratio, widest in ((1.0, 1.0), (4.0, 1 / 3)):
        ratios = torch.full((64,), aspect_ratio)
        pixels, _ = augment(options, ramp, torch.zeros(64).long(), aspect_ratios=ratios)
        seen = (pixels[..., -1] - pixels[..., 0]).mean(dim=(1, 2)) / 2 * 16 / 15
        assert seen.max() < widest + 0.03
        assert seen.max() > 0.7 * widest


def test_inception_crops_keep_the_asked_area_and_the_shape_of_the_model():
    across = torch.arange(0, 256, 4, dtype=torch.uint8).expand(64, 1, 64, 64)
    # Red grows to the right and green downwards, by their whole range.
    images = torch.cat([across, across.mT, across], dim=1)
    options = AugmentOptions(crop="inception", flip=0.0, crop_scale=(0.2, 0.3))
    pixels, _ = augment(options, images, torch.zeros(64).long(), size=(16, 32))
    width = (pixels[:, 0, 0, -1] - pixels[:, 0, 0, 0]) / 2 * 32 / 31
    height = (pixels[:, 1, -1, 0] - pixels[:, 1, 0, 0]) / 2 * 16 / 15
    area, ratio = width * height, width / height
    assert 0.17 < area.min() < 0.23
    assert 0.27 < area.max() < 0.33
    assert 1.35 < ratio.min() < 1.8
    assert 2.2 < ratio.max() < 2.9


def test_erase_always_changes_a_part_of_every_image():
    images, labels = some_images(50)
    options = AugmentOptions(crop="none", flip=0.0, erase=1.0)
    pixels, _ = augment(options, images, labels)
    changed = (pixels != normalize(images)).any(dim=1).double().mean(dim=(1, 2))
    assert changed.min() > 0
    assert changed.max() < 0.6


def test_randaugment_applies_its_operations_at_its_magnitude_after_the_crop():
    images, labels = some_images(64)
    options = AugmentOptions(
        crop="none", flip=0.0, randaugment_operations=2, randaugment_magnitude=8.0
    )
    pixels, _ = augment(options, images, labels)
    stream = generator()
    random_flips(64, 0.0, stream)
    random_offsets(64, 0, stream)
    assert torch.equal(pixels, normalize(rand_augment(images, 2, 8.0, stream)))


@pytest.mark.parametrize("stored", [(16, 16), (40, 24)])
def test_the_result_has_the_models_size_range_and_type(stored):
    images, labels = some_images(8, *stored)
    before = images.clone()
    pixels, targets = augment(EVERYTHING, images, labels, size=(16, 12))
    assert pixels.shape == (8, 3, 16, 12)
    assert pixels.dtype == targets.dtype == torch.float32
    assert pixels.abs().max() <= 1
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(8))
    assert torch.equal(images, before)


@pytest.mark.parametrize("crop", ["pad", "inception"])
def test_one_generator_state_gives_the_same_bits_and_another_does_not(crop):
    images, labels = some_images()
    augmenter = Augmenter(EVERYTHING.__class__(**{**vars(EVERYTHING), "crop": crop}), (16, 16), 4)
    stream = generator(7)
    first = augmenter(images, labels, stream)
    state = stream.get_state()
    second = augmenter(images, labels, stream)
    stream.set_state(state)
    torch.manual_seed(1)  # the global generator has no say
    again = augmenter(images, labels, stream)
    assert torch.equal(second[0], again[0])
    assert torch.equal(second[1], again[1])
    assert not torch.equal(first[0], second[0])


def test_mixup_and_cutmix_share_the_batches_by_their_probabilities():
    images, labels = some_images(4)
    solid = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand_as(images) * 60
    options = AugmentOptions(
        crop="none", flip=0.0, mixup_alpha=1.0, mixup_probability=0.5, cutmix_alpha=1.0,
        cutmix_probability=0.5,
    )  # fmt: skip
    augmenter, stream = Augmenter(options, (16, 16), 4), generator()
    kinds = {"plain": 0, "mixup": 0, "cutmix": 0}
    for _ in range(300):
        pixels, targets = augmenter(solid, labels, stream)
        if torch.equal(targets, torch.eye(4)):
            kinds["plain"] += 1
        elif (pixels == pixels[..., :1, :1]).all():
            kinds["mixup"] += 1
        else:
            kinds["cutmix"] += 1
    assert 110 < kinds["mixup"] < 185
    assert 45 < kinds["cutmix"] < 105
    assert 45 < kinds["plain"] < 115


def test_mixup_in_every_batch_leaves_none_to_cutmix():
    images, labels = some_images(4)
    with_both = AugmentOptions(crop="none", flip=0.0, mixup_alpha=1.0, cutmix_alpha=1.0)
    only_mixup = AugmentOptions(crop="none", flip=0.0, mixup_alpha=1.0)
    for seed in range(5):
        first, second = (augment(o, images, labels, seed) for o in (with_both, only_mixup))
        assert torch.equal(first[0], second[0])


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"flip": 1.5}, "flip 1.5"),
        ({"erase": -0.1}, "erase -0.1"),
        ({"mixup_probability": 2.0}, "mixup_probability 2.0"),
        ({"cutmix_alpha": -1.0}, "cutmix_alpha -1.0"),
        ({"randaugment_operations": -1}, "randaugment_operations -1"),
        ({"crop_scale": (0.0, 1.0)}, "crop_scale 0.0 1.0"),
        ({"crop_scale": (0.9, 0.5)}, "crop_scale 0.9 0.5"),
        ({"pad": 16}, "pad 16"),
    ],
)
def test_options_out_of_range_are_refused_by_name(wrong, named):
    with pytest.raises(UsageError, match=named):
        Augmenter(AugmentOptions(**wrong), (16, 16), 4)
