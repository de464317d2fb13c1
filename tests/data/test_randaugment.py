import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from sklearn.datasets import load_sample_image

from mlpmixer.data import randaugment as ra

GREY = (128, 128, 128)
FACTORS = [0.0, 0.1, 0.55, 1.0, 1.9, 2.8]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def photos():
    """Three different photographs of 60 x 80 pixels: bright, dark and of low contrast."""
    china, flower = load_sample_image("china.jpg"), load_sample_image("flower.jpg")
    dull = (flower[100:400:5, 200:600:5] // 3 + 70).astype(np.uint8)
    return [china[100:400:5, 100:500:5], flower[100:400:5, 200:600:5], dull]


def as_batch(pictures):
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def with_pillow(change):
    return as_batch([np.array(change(Image.fromarray(picture))) for picture in photos()])


def largest_difference(ours, expected):
    assert ours.dtype == torch.uint8
    return (ours.int() - expected.int()).abs().max().item()


def share_of_differing_pixels(ours, expected):
    assert ours.dtype == torch.uint8
    return (ours != expected).any(dim=1).double().mean().item()


@pytest.mark.parametrize(
    ("ours", "pillow"),
    [
        (ra.auto_contrast, ImageOps.autocontrast),
        (ra.equalize, ImageOps.equalize),
        (ra.invert, ImageOps.invert),
    ],
)
def test_operations_without_strength_equal_pillows(ours, pillow):
    assert torch.equal(ours(as_batch(photos())), with_pillow(pillow))


@pytest.mark.parametrize("level", [0, 7, 255])
def test_images_of_one_level_have_nothing_to_stretch(level):
    image = torch.full((1, 3, 6, 6), level, dtype=torch.uint8)
    assert torch.equal(ra.auto_contrast(image), image)
    assert torch.equal(ra.equalize(image), image)


@pytest.mark.parametrize("bits", [1, 3, 4, 6, 8])
def test_posterize_equals_pillows(bits):
    expected = with_pillow(lambda image: ImageOps.posterize(image, bits))
    assert torch.equal(ra.posterize(as_batch(photos()), bits), expected)


def test_posterize_to_no_bits_is_black_and_to_many_keeps_the_image():
    images = as_batch(photos())
    assert not ra.posterize(images, 0).any()
    assert torch.equal(ra.posterize(images, 12), images)


@pytest.mark.parametrize("threshold", [0, 90, 255, 256, 384])
def test_solarize_equals_pillows(threshold):
    expected = with_pillow(lambda image: ImageOps.solarize(image, threshold))
    assert torch.equal(ra.solarize(as_batch(photos()), threshold), expected)


@pytest.mark.parametrize("addition", [0, 40, 165, 300])
def test_solarize_add_lifts_the_dark_half_up_to_white(addition):
    images = as_batch(photos())
    wide = images.int()
    expected = torch.where(wide < 128, (wide + addition).clamp(max=255), wide).byte()
    assert torch.equal(ra.solarize_add(images, addition), expected)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize(
    ("ours", "pillow"),
    [
        (ra.color, ImageEnhance.Color),
        (ra.contrast, ImageEnhance.Contrast),
        (ra.brightness, ImageEnhance.Brightness),
        (ra.sharpness, ImageEnhance.Sharpness),
    ],
)
def test_enhancements_equal_pillows_to_one_level(ours, pillow, factor):
    expected = with_pillow(lambda image: pillow(image).enhance(factor))
    result = ours(as_batch(photos()), factor)
    assert largest_difference(result, expected) <= 1
    assert share_of_differing_pixels(result, expected) < 0.01


# Pillow's nearest neighbour works in 16-bit fixed point: pixels on a boundary may fall elsewhere.
@pytest.mark.parametrize("degrees", [-45.0, -30.0, 10.0, 45.0])
def test_rotation_equals_pillows(degrees):
    matrices = ra.rotation_matrices(torch.full((3,), degrees), 60, 80)
    ours = ra.affine(as_batch(photos()), matrices)
    expected = with_pillow(lambda image: image.rotate(degrees, fillcolor=GREY))
    assert share_of_differing_pixels(ours, expected) < 0.005


def pillow_affine(matrix):
    # Pillow counts from the corner of the first pixel, the matrix from its centre.
    (a, b, c), (d, e, f) = matrix.tolist()
    data = (a, b, c + (1 - a - b) / 2, d, e, f + (1 - d - e) / 2)
    return with_pillow(
        lambda image: image.transform(
            image.size, Image.Transform.AFFINE, data, Image.Resampling.NEAREST, fillcolor=GREY
        )
    )


@pytest.mark.parametrize(
    "matrices",
    [ra.shear_x_matrices, ra.shear_y_matrices, ra.translate_x_matrices, ra.translate_y_matrices],
)
@pytest.mark.parametrize("amount", [-21.7, -0.45, 0.3, 14.3])
def test_shears_and_translations_equal_pillows(matrices, amount):
    if "shear" in matrices.__name__:
        amount /= 40
    ours = ra.affine(as_batch(photos()), matrices(torch.full((3,), amount)))
    expected = pillow_affine(matrices(torch.tensor([amount]))[0])
    assert share_of_differing_pixels(ours, expected) < 0.005


def test_translations_move_the_content_and_fill_with_grey():
    images = as_batch(photos())
    left = ra.affine(images, ra.translate_x_matrices(torch.full((3,), 5.0)))
    assert torch.equal(left[..., :-5], images[..., 5:])
    assert (left[..., -5:] == 128).all()
    down = ra.affine(images, ra.translate_y_matrices(torch.full((3,), -7.0)))
    assert torch.equal(down[..., 7:, :], images[..., :-7, :])
    assert (down[..., :7, :] == 128).all()


def test_each_image_follows_its_own_matrix():
    images = as_batch(photos())
    matrices = ra.rotation_matrices(torch.tensor([10.0, -20.0, 30.0]), 60, 80)
    together = ra.affine(images, matrices)
    for index in range(3):
        alone = ra.affine(images[index : index + 1], matrices[index : index + 1])
        assert torch.equal(together[index], alone[0])


def test_cutout_paints_a_grey_square_and_cuts_it_off_at_the_border():
    images = torch.zeros(2, 3, 20, 30, dtype=torch.uint8)
    painted = ra.cutout(images, torch.tensor([[0.5, 0.5], [0.0, 0.99]]), 4)
    expected = torch.zeros_like(images)
    expected[0, :, 6:14, 11:19] = 128  # centre pixel (10, 15)
    expected[1, :, 15:20, 0:4] = 128  # centre pixel (19, 0)
    assert torch.equal(painted, expected)


def outcomes(image):
    """What the operations make of an image of 32 x 32 pixels at magnitude 9, by their ranges."""
    full = torch.tensor([1.0, -1.0])
    pair = image.repeat(2, 1, 1, 1)
    matrices = {
        "Rotate": ra.rotation_matrices(full * 27, 32, 32),
        "ShearX": ra.shear_x_matrices(full * 0.27),
        "ShearY": ra.shear_y_matrices(full * 0.27),
        "TranslateX": ra.translate_x_matrices(full * 90 / 7),
        "TranslateY": ra.translate_y_matrices(full * 90 / 7),
    }
    return {
        "AutoContrast": ra.auto_contrast(image),
        "Equalize": ra.equalize(image),
        "Invert": ra.invert(image),
        "Posterize": ra.posterize(image, 3),
        "Solarize": ra.solarize(image, 230),
        "SolarizeAdd": ra.solarize_add(image, 99),
        "Color": ra.color(image, 1.72),
        "Contrast": ra.contrast(image, 1.72),
        "Brightness": ra.brightness(image, 1.72),
        "Sharpness": ra.sharpness(image, 1.72),
        **{name: ra.affine(pair, matrix) for name, matrix in matrices.items()},
    }


def test_every_operation_is_drawn_equally_often_at_its_strength_and_with_either_sign():
    image = as_batch([load_sample_image("china.jpg")[100:132, 300:332] // 2 + 107])
    count = 1600
    results = ra.rand_augment(image.repeat(count, 1, 1, 1), 1, 9.0, generator())
    left = torch.ones(count, dtype=torch.bool)
    for name, expected in outcomes(image).items():
        for outcome in expected:
            hits = (results == outcome).all(dim=(1, 2, 3))
            share = hits.sum().item() / count * len(ra.OPERATIONS) * len(expected)
            assert 0.6 < share < 1.4, name
            assert left[hits].all(), f"{name} cannot be told from another operation"
            left &= ~hits
    # All others are Cutout: squares of 2 * int(0.9 * 40 / 7) = 10 pixels, less at the border.
    changed = (results[left] != image).any(dim=1)
    assert 0.6 < left.sum().item() / count * len(ra.OPERATIONS) < 1.4
    assert (results[left] == 128).all(dim=1)[changed].all()
    assert changed.sum(dim=(1, 2)).max() == 100


def test_the_list_has_the_sixteen_operations():
    assert len(set(ra.OPERATIONS)) == 16


def test_operations_follow_each_other():
    images = as_batch(photos())
    once = ra.rand_augment(images, 1, 9.0, stream := generator(5))
    assert torch.equal(
        ra.rand_augment(once, 1, 9.0, stream), ra.rand_augment(images, 2, 9.0, generator(5))
    )


def test_no_operation_returns_the_images():
    images = as_batch(photos())
    assert torch.equal(ra.rand_augment(images, 0, 15.0, generator()), images)


def test_an_image_does_not_depend_on_the_others_and_the_input_stays():
    images = as_batch(photos() * 20)
    other = images.clone()
    other[::3] = 255 - other[::3]
    before = images.clone()
    first = ra.rand_augment(images, 2, 15.0, generator(1))
    second = ra.rand_augment(other, 2, 15.0, generator(1))
    keep = torch.arange(60) % 3 != 0
    assert torch.equal(first[keep], second[keep])
    assert not torch.equal(first[~keep], second[~keep])
    assert torch.equal(images, before)


def test_float_images_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        ra.rand_augment(torch.zeros(1, 3, 4, 4), 1, 10.0, generator())
