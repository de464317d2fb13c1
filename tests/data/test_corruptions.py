"""Damaged test images: strengths, values, and where chance comes from."""

import io
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from mlpmixer.data.corruptions import (
    CORRUPTIONS,
    SEVERITIES,
    SIZES,
    corrupt,
    find_corruptions,
    nearest_size,
)
from mlpmixer.data.corruptions.blur import defocus, motion, zoom
from mlpmixer.data.corruptions.digital import contrast
from mlpmixer.data.corruptions.noise import gaussian, impulse, shot
from mlpmixer.data.corruptions.weather import brightness, fog, plasma
from mlpmixer.errors import UsageError

PHOTO = Image.fromarray(load_sample_image("flower.jpg"))


def photos(size: int, count: int = 4) -> torch.Tensor:
    """Return different square parts of a photo, (count, 3, size, size) uint8."""
    boxes = [(100 + 60 * n, 30, 400 + 60 * n, 330) for n in range(count)]
    parts = [np.asarray(PHOTO.crop(box).resize((size, size))) for box in boxes]
    return torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2).contiguous()


def chances(count: int = 1) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(n) for n in range(count)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_severity_changes_more_than_the_one_before(name: str, size: int) -> None:
    images = photos(size)
    damaged = [corrupt(images, range(4), name, severity) for severity in SEVERITIES]
    apart = [float((one.float() - images.float()).square().mean()) for one in damaged]
    assert apart[0] > 0
    # Fog changes its form with its amount, blocks may happen to fit small pictures, and the line of
    # a motion becomes longer where it has hardly any weight.
    nearly = 0.97 if name in ("fog", "pixelate", "motion_blur") else 1.0
    assert all(after > nearly * before for before, after in pairwise(apart))
    assert apart[-1] > 1.2 * apart[0]
    assert all(one.shape == images.shape and one.dtype == torch.uint8 for one in damaged)
    assert torch.equal(images, photos(size))  # those given are as they were


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_damage_follows_from_the_image_and_its_index_alone(name: str) -> None:
    images = photos(32)
    together = corrupt(images, [3, 4, 5, 6], name, 3)
    torch.manual_seed(7)  # the global generator has no say
    alone = [corrupt(images[n : n + 1], [3 + n], name, 3) for n in range(4)]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "impulse_noise", "fog"])
def test_images_of_other_indices_are_damaged_otherwise(name: str) -> None:
    twice = photos(32, 1).expand(2, -1, -1, -1)
    one, other = corrupt(twice, [0, 1], name, 3)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(8, 8), (20, 33), (1, 5)])
def test_images_of_any_shape_are_taken(name: str, shape: tuple[int, int]) -> None:
    images = torch.randint(256, (2, 3, *shape), dtype=torch.uint8)
    assert corrupt(images, [0, 1], name, 5).shape == images.shape


def test_strengths_are_those_for_the_nearest_size() -> None:
    sizes = [nearest_size(size) for size in ((8, 8), (32, 300), (48, 64), (120, 120), (384, 400))]
    assert sizes == [32, 32, 64, 224, 224]
    assert all(len(one.strengths[size]) == 5 for one in CORRUPTIONS.values() for size in SIZES)


def test_noise_has_its_strength() -> None:
    grey = torch.full((1, 3, 200, 200), 0.5)
    noise = gaussian(grey, 0.1, chances()) - grey
    assert noise.std().item() == pytest.approx(0.1, rel=0.01)
    counted = shot(grey, 60.0, chances())
    assert counted.mean().item() == pytest.approx(0.5, rel=0.01)
    assert counted.var().item() == pytest.approx(0.5 / 60, rel=0.02)
    broken = impulse(grey, 0.2, chances())
    shares = [(broken == value).float().mean().item() for value in (0.0, 0.5, 1.0)]
    assert shares == pytest.approx([0.1, 0.8, 0.1], abs=0.01)


def test_blur_keeps_light_and_says_where_it_goes() -> None:
    point = torch.zeros(1, 3, 41, 41)
    point[:, :, 20, 20] = 1.0
    disk = defocus(point, (3.0, 0.1), chances())
    assert disk.sum().item() == pytest.approx(3.0, rel=1e-4)
    assert torch.allclose(disk, disk.flip(2), atol=1e-6)
    assert (disk[0, 0] > 0.01).sum().item() == 29  # lattice points within a radius of 3
    smeared = motion(point, (6, 3.0), chances())
    assert smeared.sum().item() == pytest.approx(3.0, rel=1e-4)
    rows, columns = smeared[0, 0].nonzero().unbind(1)
    assert columns.max() == 20  # one way alone
    assert len(rows) > 6
    assert ((rows - 20).abs() <= (20 - columns) + 1).all()  # within 45 degrees
    zoomed = zoom(point, (1.0, 2.0), chances())
    assert zoomed.argmax() == point.argmax()
    for blurred in (
        defocus(torch.ones(1, 3, 9, 9), (1.5, 0.1), chances()),
        motion(torch.ones(1, 3, 9, 9), (6, 1.0), chances()),
        zoom(torch.ones(1, 3, 9, 9), (1.0, 1.1), chances()),
    ):
        assert torch.allclose(blurred, torch.ones(1, 3, 9, 9), atol=1e-5)


def test_zoom_enlarges_about_the_centre() -> None:
    ramp = torch.linspace(-1, 1, 65).expand(1, 3, 65, 65)
    zoomed = zoom(ramp, (2.0,), chances()) * 2 - ramp
    assert torch.allclose(zoomed[..., 1:-1], ramp[..., 1:-1] / 2, atol=0.02)


def test_brightness_adds_to_the_value_and_keeps_the_hue() -> None:
    pixels = torch.tensor([[0.2, 0.4, 0.8], [0.0, 0.0, 0.0], [0.5, 1.0, 0.5]]).view(3, 3, 1, 1)
    lighter = brightness(pixels, 0.1, chances(3)).view(3, 3)
    wanted = [[0.225, 0.45, 0.9], [0.1, 0.1, 0.1], [0.5, 1.0, 0.5]]
    assert torch.allclose(lighter, torch.tensor(wanted))


def test_contrast_keeps_the_mean_of_each_channel() -> None:
    pixels = torch.tensor([0.0, 0.5, 1.0, 0.5]).expand(1, 3, 1, 4)
    less = contrast(pixels, 0.4, chances())
    assert torch.allclose(less[0, 0, 0], torch.tensor([0.3, 0.5, 0.7, 0.5]))


def test_fog_is_made_of_clouds_that_are_coarse_or_fine() -> None:
    coarse, fine = (plasma(64, decay, chances(3)) for decay in (3.0, 1.2))
    for clouds in (coarse, fine):
        assert clouds.shape == (3, 64, 64)
        assert (clouds.amin(dim=(1, 2)) == 0).all()
        assert (clouds.amax(dim=(1, 2)) == 1).all()
    roughness = [one.diff(dim=2).abs().mean().item() for one in (coarse, fine)]
    assert roughness[0] < roughness[1] / 3
    white = fog(torch.ones(1, 3, 40, 50), (1.0, 2.0), chances())
    assert white.min().item() == pytest.approx(0.5, abs=0.2)  # (1 + 0) / (1 + 1)
    assert white.max() <= 1


def test_jpeg_and_pixelation_are_pillows() -> None:
    (image,) = photos(32, 1)
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=58)
    stored = np.asarray(Image.open(buffer))
    damaged = corrupt(image[None], [0], "jpeg", 3)[0].permute(1, 2, 0).numpy()
    assert np.array_equal(damaged, stored)
    blocks = corrupt(photos(64, 1), [0], "pixelate", 5)[0]  # half the side
    assert torch.equal(blocks[:, ::2, ::2], blocks[:, 1::2, 1::2])


def test_corruptions_are_found_by_name() -> None:
    assert find_corruptions(["all"]) == tuple(CORRUPTIONS)
    assert find_corruptions(["jpeg", "fog"]) == ("fog", "jpeg")
    with pytest.raises(UsageError, match=r"unknown corruption 'fogg'. Did you mean fog"):
        find_corruptions(["fogg"])
    with pytest.raises(UsageError, match="no corruption is named: give all, or some of"):
        find_corruptions([])
