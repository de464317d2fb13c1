import pytest
import torch

from mlpmixer.data.augment import Augmenter, normalize
from mlpmixer.data.options import AugmentOptions
from mlpmixer.data.randaugment import rand_augment
from mlpmixer.errors import UsageError
from mlpmixer.ranks import Ranks

EVERYTHING = AugmentOptions(
    randaugment_operations=2, mixup_alpha=0.5, mixup_probability=0.5, cutmix_alpha=1.0, erase=0.5
)
NOTHING = AugmentOptions()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def some_images(count=8, height=16, width=16):
    images = torch.randint(256, (count, 3, height, width), dtype=torch.uint8, generator=generator())
    return images, torch.arange(count) % 4


def augment(options, images, labels, seed=0):
    return Augmenter(options, 4)(images, labels, generator(seed))


def test_normalize_maps_the_range_of_bytes_to_minus_one_to_one():
    values = normalize(torch.tensor([0, 51, 255], dtype=torch.uint8))
    torch.testing.assert_close(values, torch.tensor([-1.0, -0.6, 1.0]))


def test_normalize_refuses_floats():
    with pytest.raises(ValueError, match="uint8"):
        normalize(torch.zeros(3))


def test_everything_off_is_the_identity():
    images, labels = some_images()
    pixels, targets = augment(NOTHING, images, labels)
    assert torch.equal(pixels, normalize(images))
    assert torch.equal(targets, torch.eye(4)[labels])


def test_erase_always_changes_a_part_of_every_image():
    images, labels = some_images(50)
    options = AugmentOptions(erase=1.0)
    pixels, _ = augment(options, images, labels)
    changed = (pixels != normalize(images)).any(dim=1).double().mean(dim=(1, 2))
    assert changed.min() > 0
    assert changed.max() < 0.6


def test_randaugment_applies_its_operations_at_its_magnitude():
    images, labels = some_images(64)
    options = AugmentOptions(randaugment_operations=2, randaugment_magnitude=8.0)
    pixels, _ = augment(options, images, labels)
    assert torch.equal(pixels, normalize(rand_augment(images, 2, 8.0, generator())))


def test_the_result_has_the_models_range_and_type():
    images, labels = some_images(8, 16, 12)
    before = images.clone()
    pixels, targets = augment(EVERYTHING, images, labels)
    assert pixels.shape == (8, 3, 16, 12)
    assert pixels.dtype == targets.dtype == torch.float32
    assert pixels.abs().max() <= 1
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(8))
    assert torch.equal(images, before)


def test_one_generator_state_gives_the_same_bits_and_another_does_not():
    images, labels = some_images()
    augmenter = Augmenter(EVERYTHING, 4)
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
        mixup_alpha=1.0, mixup_probability=0.5, cutmix_alpha=1.0,
        cutmix_probability=0.5,
    )  # fmt: skip
    augmenter, stream = Augmenter(options, 4), generator()
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


def test_mixup_and_cutmix_together_get_half_of_the_batches_each():
    images, labels = some_images(4)
    together = AugmentOptions(mixup_alpha=1.0, cutmix_alpha=1.0)
    halves = AugmentOptions(mixup_alpha=1.0, cutmix_alpha=1.0, mixup_probability=0.5)
    solid = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand_as(images) * 60
    mixed = 0
    for seed in range(200):
        first, second = (augment(o, solid, labels, seed) for o in (together, halves))
        assert torch.equal(first[0], second[0])
        mixed += bool((first[0] == first[0][..., :1, :1]).all())
    assert 75 < mixed < 135  # CutMix leaves edges, or seldom nothing of an image
    assert (together.mixup_share, together.cutmix_share) == (0.5, 0.5)
    alone = AugmentOptions(mixup_alpha=1.0), AugmentOptions(cutmix_alpha=1.0)
    assert [one.mixup_share for one in alone] == [1.0, 0.0]
    assert [one.cutmix_share for one in alone] == [0.0, 1.0]


def test_mixup_in_every_batch_beside_cutmix_is_refused():
    options = AugmentOptions(mixup_alpha=1.0, mixup_probability=1.0, cutmix_alpha=1.0)
    with pytest.raises(UsageError, match="mixup-probability 1 leaves no batch to CutMix"):
        Augmenter(options, 4)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"erase": -0.1}, "erase -0.1"),
        ({"mixup_probability": 2.0}, "mixup-probability 2.0"),
        ({"cutmix_alpha": -1.0}, "cutmix-alpha -1.0"),
        ({"randaugment_operations": -1}, "randaugment-operations -1"),
        ({"repeats": 0}, "repeats 0"),
    ],
)
def test_options_out_of_range_are_refused_by_name(wrong, named):
    with pytest.raises(UsageError, match=named):
        Augmenter(AugmentOptions(**wrong), 4)


@pytest.mark.parametrize("world", [2, 4, 8])
def test_ranks_get_what_one_process_gets_at_their_positions(world):
    images, labels = some_images(64)
    augmenter = Augmenter(EVERYTHING, 4)
    for seed in range(3):
        whole = augmenter(images, labels, generator(seed))
        for rank in range(world):
            own = augmenter(
                images[rank::world], labels[rank::world], generator(seed), Ranks(rank, world)
            )
            for one, other in zip(own, whole, strict=True):
                assert torch.equal(one, other[rank::world])
