import math

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch.nn import functional

from mlpmixer.data import crops

WHOLE = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
NEVER = torch.zeros(2, dtype=torch.bool)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def photo():
    return load_sample_image("flower.jpg")[100:300, 200:500]  # (200, 300, 3)


def as_batch(*pictures):
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def some_images(count=4, height=12, width=10):
    return torch.randint(256, (count, 3, height, width), dtype=torch.uint8, generator=generator())


def test_shift_by_zero_returns_the_images():
    images = some_images()
    shifted = crops.shift(images, torch.zeros(4, 2, dtype=torch.int64), torch.zeros(4).bool())
    assert shifted.dtype == torch.uint8
    assert torch.equal(shifted, images)


def test_shift_is_a_crop_from_the_mirror_padded_image():
    images = some_images(81)
    offsets = torch.cartesian_prod(torch.arange(-4, 5), torch.arange(-4, 5))
    shifted = crops.shift(images, offsets, torch.zeros(81).bool())
    padded = functional.pad(images.float(), (4, 4, 4, 4), mode="reflect").byte()
    for image, (down, right), expected in zip(shifted, offsets.tolist(), padded, strict=True):
        assert torch.equal(image, expected[:, 4 + down : 16 + down, 4 + right : 14 + right])


def test_shift_flips_the_chosen_images_and_no_other():
    images = some_images()
    flips = torch.tensor([True, False, True, False])
    offsets = torch.tensor([[0, 0], [0, 0], [1, -2], [1, -2]])
    unflipped = crops.shift(images, offsets, torch.zeros(4).bool())
    flipped = crops.shift(images, offsets, flips)
    assert torch.equal(flipped[flips], unflipped[flips].flip(3))
    assert torch.equal(flipped[~flips], unflipped[~flips])


def test_every_shift_occurs_about_equally_often():
    offsets = crops.random_offsets(8100, 4, generator())
    assert offsets.min() == -4
    assert offsets.max() == 4
    counts = ((offsets[:, 0] + 4) * 9 + offsets[:, 1] + 4).bincount(minlength=81)
    assert counts.min() > 60
    assert counts.max() < 140


@pytest.mark.parametrize(("probability", "share"), [(0.0, 0.0), (1.0, 1.0), (0.5, 0.5)])
def test_flips_occur_with_their_probability(probability, share):
    flips = crops.random_flips(4000, probability, generator())
    assert flips.double().mean().item() == pytest.approx(share, abs=0.03 * (0 < share < 1))


def inception(aspect_ratios, scale, target_ratio=1.0):
    count = len(aspect_ratios)
    draws = crops.draw_inception_boxes(count, generator(), scale=scale, target_ratio=target_ratio)
    return crops.inception_boxes(draws, aspect_ratios, target_ratio=target_ratio)


@pytest.mark.parametrize("aspect_ratio", [0.5, 1.0, 2.5])
def test_inception_boxes_stay_inside_and_have_the_asked_areas_and_ratios(aspect_ratio):
    aspect_ratios = torch.full((4000,), aspect_ratio)
    boxes = inception(aspect_ratios, scale=(0.1, 0.3))
    left, top, right, bottom = boxes.unbind(1)
    assert boxes.min() >= 0
    assert boxes.max() <= 1
    area = (right - left) * (bottom - top)
    assert area.min() >= 0.1 - 1e-9
    assert area.max() <= 0.3 + 1e-9
    # Boxes of these areas nearly always fit, so the first draw counts and stays uniform.
    assert area.mean().item() == pytest.approx(0.2, abs=0.01)
    log_ratio = ((right - left) * aspect_ratio / (bottom - top)).log()
    assert log_ratio.abs().max() <= math.log(4 / 3) + 1e-9
    assert log_ratio.mean().item() == pytest.approx(0, abs=0.02)
    assert log_ratio.std().item() == pytest.approx(math.log(4 / 3) / math.sqrt(3), rel=0.05)
    # The place is uniform within what is free.
    assert (left / (1 - right + left)).mean().item() == pytest.approx(0.5, abs=0.03)
    assert (top / (1 - bottom + top)).mean().item() == pytest.approx(0.5, abs=0.03)


def test_inception_boxes_follow_the_shape_of_the_model():
    boxes = inception(torch.ones(500), scale=(0.1, 0.2), target_ratio=2)
    ratio = (boxes[:, 2] - boxes[:, 0]) / (boxes[:, 3] - boxes[:, 1])
    assert ratio.min() >= 1.5 - 1e-9
    assert ratio.max() <= 8 / 3 + 1e-9


@pytest.mark.parametrize(
    ("aspect_ratio", "expected"),
    [
        (4.0, [1 / 3, 0, 2 / 3, 1]),  # 4/3 wide out of 4
        (0.25, [0, 1 / 3, 1, 2 / 3]),  # 4/3 high out of 4
    ],
)
def test_boxes_that_never_fit_fall_back_to_the_centre(aspect_ratio, expected):
    # Nine tenths of the area of such an image cannot have an aspect ratio near 1.
    boxes = inception(torch.full((3,), aspect_ratio), scale=(0.9, 1.0))
    torch.testing.assert_close(boxes, torch.tensor([expected] * 3, dtype=torch.float64))


def test_boxes_tell_which_images_they_fit():
    draws = crops.draw_boxes(2, generator(), scale=(0.5, 0.5), ratio=(1.0, 1.0))
    boxes, found = crops.fit_boxes(draws, torch.tensor([1.0, 9.0]))
    assert found.tolist() == [True, False]
    assert boxes[0, 2] - boxes[0, 0] == pytest.approx(math.sqrt(0.5))


def test_a_part_of_the_draws_gives_that_part_of_the_boxes():
    ratios = torch.rand(50, generator=generator(1)) + 0.5
    draws = crops.draw_inception_boxes(50, generator())
    whole = crops.inception_boxes(draws, ratios)
    for begin, end in ((0, 1), (1, 18), (18, 50)):
        part = crops.inception_boxes(draws.part(slice(begin, end)), ratios[begin:end])
        assert torch.equal(part, whole[begin:end])


def test_extracting_the_whole_image_reproduces_it():
    images = some_images(2)
    assert torch.equal(crops.extract(images, WHOLE.repeat(2, 1), NEVER, (12, 10)), images)


def test_extracting_a_box_of_whole_pixels_cuts_it_out():
    images = some_images(2, 8, 8)
    boxes = torch.tensor([[0.25, 0.5, 0.75, 1.0], [0.0, 0.0, 0.5, 0.5]])
    cut = crops.extract(images, boxes, NEVER, (4, 4))
    assert torch.equal(cut[0], images[0, :, 4:8, 2:6])
    assert torch.equal(cut[1], images[1, :, 0:4, 0:4])


def both_ways(images, boxes, size, flips=None):
    """What the paths for a CPU and for a GPU make of the same boxes."""
    flips = torch.zeros(len(images), dtype=torch.bool) if flips is None else flips
    how = (images, boxes, flips, size)
    return crops.extract(*how), crops.extract_together(*how)


@pytest.mark.parametrize("size", [(32, 32), (48, 24), (400, 500)])
@pytest.mark.parametrize("box", [(0, 0, 300, 200), (31, 12, 255, 180), (3, 4, 23, 27)])
def test_extracting_resamples_like_pillow_on_every_device(size, box):
    picture = photo()
    part = Image.fromarray(picture).crop(box)
    expected = as_batch(np.array(part.resize(size[::-1], Image.Resampling.BILINEAR))).int()
    shares = torch.tensor([box]) / torch.tensor([300, 200, 300, 200])
    for ours in both_ways(as_batch(picture), shares, size):
        assert (ours.int() - expected).abs().max() <= 1  # Pillow rounds between its two passes


def test_each_image_has_its_own_box():
    images = as_batch(photo(), photo()[::-1])
    boxes = torch.tensor([[0.1, 0.2, 0.6, 0.9], [0.5, 0.0, 1.0, 0.4]])
    for cut in both_ways(images, boxes, (40, 30)):
        for index in range(2):
            alone = crops.extract(
                images[index : index + 1], boxes[index : index + 1], NEVER[:1], (40, 30)
            )
            assert (cut[index].int() - alone[0].int()).abs().max() <= 1


def test_a_flipped_image_is_mirrored_in_place():
    images = as_batch(photo(), photo())
    boxes = torch.tensor([[0.2, 0.1, 0.83, 0.7]]).repeat(2, 1)
    flips = torch.tensor([False, True])
    for straight, mirrored in both_ways(images, boxes, (32, 32), flips):
        assert (mirrored.flip(2).int() - straight.int()).abs().max() <= 1


def test_a_box_of_no_size_keeps_one_pixel():
    images = some_images(2, 8, 8)
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.5], [1.0, 1.0, 1.0, 1.0]])
    for cut in both_ways(images, boxes, (2, 2)):
        assert torch.equal(cut[0], images[0, :, 4:5, 4:5].expand(-1, 2, 2))
        assert torch.equal(cut[1], images[1, :, 7:8, 7:8].expand(-1, 2, 2))


def test_images_of_many_sizes_are_cut_like_those_in_one_tensor():
    images = as_batch(photo(), photo())
    boxes = torch.tensor([[0.1, 0.2, 0.6, 0.9], [0.5, 0.0, 1.0, 0.4]])
    flips = torch.tensor([True, False])
    together = crops.extract(images, boxes, flips, (40, 30))
    listed = [images[0], images[1].permute(1, 2, 0).contiguous().permute(2, 0, 1)]
    assert torch.equal(crops.extract(listed, boxes, flips, (40, 30)), together)


def test_rectangle_mask_covers_the_pixels_whose_centre_is_inside():
    boxes = torch.tensor([[0.25, 0.0, 0.75, 0.5], [0.0, 0.0, 0.0, 0.0], [0.0, 0.1, 1.0, 0.9]])
    mask = crops.rectangle_mask(boxes, 4, 8)
    assert mask.shape == (3, 1, 4, 8)
    expected = torch.zeros(4, 8, dtype=torch.bool)
    expected[:2, 2:6] = True
    assert torch.equal(mask[0, 0], expected)
    assert not mask[1].any()
    assert mask[2].all()
