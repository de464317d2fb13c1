import pytest
import torch

from mlpmixer.data.mixing import cutmix, mixing_groups, mixup, one_hot, random_erase


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered_images(count=8, height=12, width=10):
    """Images that are constant: the number of the image."""
    return torch.arange(float(count)).view(-1, 1, 1, 1).expand(-1, 3, height, width).clone()


def test_one_hot_marks_the_label():
    expected = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    assert torch.equal(one_hot(torch.tensor([2, 0]), 3), expected)


@pytest.mark.parametrize("seed", range(5))
def test_mixup_mixes_images_and_targets_in_the_same_ratio(seed):
    images, targets = numbered_images(), torch.eye(8)
    mixed, weights = mixup(images, targets, 0.8, generator(seed))
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(8))
    # Image i is the number i, so a mixture is the mean number under its target.
    expected = (weights @ torch.arange(8.0)).view(-1, 1, 1, 1).expand_as(mixed)
    torch.testing.assert_close(mixed, expected)
    # One ratio for the batch, and every image is the partner of one other.
    torch.testing.assert_close(weights.sum(dim=0), torch.ones(8))


def test_mixup_ratios_follow_the_beta_distribution():
    stream = generator()
    images, targets = torch.zeros(2, 1, 1, 1), torch.eye(2)
    ratios = []
    while len(ratios) < 800:
        _, weights = mixup(images, targets, 0.5, stream)
        if weights[0, 0] < 1:  # else both were their own partners
            ratios.append(weights[0, 0])
    ratios = torch.stack(ratios)
    assert ratios.mean().item() == pytest.approx(0.5, abs=0.05)
    assert ratios.var().item() == pytest.approx(1 / 8, abs=0.015)  # 1 / (4 (2 alpha + 1))


@pytest.mark.parametrize("seed", range(20))
def test_cutmix_weighs_targets_by_the_pixels_that_are_left(seed):
    images = numbered_images()
    mixed, weights = cutmix(images, torch.eye(8), 1.0, generator(seed))
    for image, weight in zip(mixed, weights, strict=True):
        share = torch.stack([(image[0] == number).float().mean() for number in range(8)])
        torch.testing.assert_close(weight, share)


def test_cutmix_pastes_the_partners_pixels_in_place():
    images = torch.rand(6, 3, 16, 16, generator=generator(9))
    mixed, weights = cutmix(images, torch.eye(6), 1.0, generator(2))
    partners = (weights - torch.diag(weights.diagonal())).argmax(dim=1)
    pasted = mixed != images
    assert pasted.any()
    assert torch.equal(mixed[pasted], images[partners][pasted])
    rows, columns = pasted.any(dim=(0, 1, 3)).nonzero(), pasted.any(dim=(0, 1, 2)).nonzero()
    assert len(rows) == rows.max() - rows.min() + 1
    assert len(columns) == columns.max() - columns.min() + 1


def test_cutmix_areas_follow_the_beta_distribution_apart_from_the_border():
    stream = generator()
    images, targets = torch.zeros(2, 1, 32, 32), torch.eye(2)
    own = torch.stack([cutmix(images, targets, 1.0, stream)[1][0, 0] for _ in range(1000)])
    cut = 1 - own[own < 1]
    # A square of side s keeps s (1 - s / 4) of a side on average; s squared is uniform.
    assert cut.mean().item() == pytest.approx(1 / 2 - 1 / 5 + 1 / 48, abs=0.03)


def test_mixing_leaves_its_input():
    images, targets = numbered_images(), torch.eye(8)
    for mix in (mixup, cutmix):
        mix(images, targets, 1.0, generator())
        assert torch.equal(images, numbered_images())
        assert torch.equal(targets, torch.eye(8))


def test_erasing_never_keeps_the_images():
    images = torch.full((20, 3, 16, 16), 5.0)
    assert torch.equal(random_erase(images, 0.0, generator()), images)


def test_erasing_always_replaces_one_rectangle_of_the_asked_size_by_noise():
    images = torch.full((300, 3, 32, 32), 5.0)
    erased = random_erase(images, 1.0, generator())
    masks = (erased != 5).any(dim=1)
    for mask, image in zip(masks, erased, strict=True):
        rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
        filled = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert filled.all()
        noise = image[:, mask]
        assert noise.min() >= -1
        assert noise.max() <= 1
    area = masks.double().mean(dim=(1, 2))
    assert area.min() > 0.01
    assert area.max() < 0.43
    assert area.mean().item() == pytest.approx(0.21, abs=0.03)
    assert erased[erased != 5].std().item() == pytest.approx(3**-0.5, abs=0.05)


def test_erasing_happens_with_its_probability():
    images = torch.full((1000, 1, 16, 16), 5.0)
    erased = (random_erase(images, 0.25, generator()) != 5).any(dim=(1, 2, 3))
    assert erased.double().mean().item() == pytest.approx(0.25, abs=0.05)
    assert images.eq(5).all()


def test_partners_are_others_of_the_same_group_and_each_serves_once():
    images, targets = torch.rand(32, 1, 4, 4), torch.eye(32)
    assert mixing_groups(32) == 4
    _, weights = mixup(images, targets, 1.0, generator(3))
    partners = (weights - torch.diag(weights.diagonal())).argmax(dim=1)
    numbers = torch.arange(32)
    assert torch.equal(partners % 4, numbers % 4)
    assert torch.equal(partners.sort().values, numbers)
    assert not (partners == numbers).any()


@pytest.mark.parametrize(
    ("batch", "groups"),
    [(1, 1), (8, 1), (15, 1), (16, 2), (96, 8), (100, 4), (512, 64), (4096, 64)],
)
def test_groups_of_mixing_are_powers_of_two_with_room_for_partners(batch, groups):
    assert mixing_groups(batch) == groups
