"""RandAugment (arXiv 1909.13719) on batches of 8-bit images.

Operations, ranges and signs are those of the code Mixer was trained with,
https://github.com/google-research/big_vision/blob/main/big_vision/pp/autoaugment.py, with three
differences: pixel lengths, which are constants for 224 pixels there, scale with the image;
Contrast fades towards the image's mean grey as Pillow does, not towards pixels / 256; a magnitude
that would keep more than 8 bits (Posterize) or brighten beyond white (Solarize) changes nothing.

All operations work on uint8 (B, 3, H, W), return new tensors and treat each image by itself.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mlpmixer.data.crops import rectangle_mask
from mlpmixer.ranks import ALONE, Ranks

_FULL_RANGE = 10.0  # the magnitude at which an operation has its usual full range
_REFERENCE_SIZE = 224  # image side for which the authors' pixel lengths hold
_TRANSLATION = 100  # pixels
_CUTOUT = 40  # pixels from the centre of the square to its sides
_ROTATION = 30.0  # degrees
_SHEAR = 0.3
_FILL = 128  # grey of the pixels that come from outside the image
_LIFTED_BELOW = 128  # SolarizeAdd lifts the values below this


def rand_augment(
    images: Tensor,
    operations: int,
    magnitude: float,
    generator: torch.Generator,
    ranks: Ranks = ALONE,
) -> Tensor:
    """Apply `operations` operations to each image, drawn uniformly with replacement.

    `images` (B, 3, H, W) uint8, the own ones of a batch; `magnitude` is the strength of all of
    them, 10 being the full range. Returns a new tensor of that shape. Raises ValueError for images
    that are not uint8.
    """
    if images.dtype != torch.uint8:
        raise ValueError(f"RandAugment works on uint8 images, not {images.dtype}")
    images = images.clone()
    for _ in range(operations):
        _apply_one(images, magnitude / _FULL_RANGE, generator, ranks)
    return images


def _apply_one(images: Tensor, strength: float, generator: torch.Generator, ranks: Ranks) -> None:
    """Change each image in place by one drawn operation; `strength` 1 is the full range."""
    count, _, height, width = images.shape
    whole, own = count * ranks.world, ranks.own
    chosen = torch.randint(len(OPERATIONS), (whole,), generator=generator)[own]
    # Drawn for every image, needed or not: the number of draws depends on the batch size alone.
    signs = torch.randint(2, (whole,), generator=generator)[own] * 2.0 - 1
    centres = torch.rand(whole, 2, generator=generator)[own]

    for number, name in enumerate(_PHOTOMETRIC):
        members = (chosen == number).nonzero().flatten()
        if len(members):
            members = members.to(images.device)
            images[members] = _PHOTOMETRIC[name](images[members], strength)

    # All geometric operations are one resampling with different matrices.
    geometric = torch.full((count,), False)
    matrices = torch.eye(2, 3).repeat(count, 1, 1)
    for number, name in enumerate(_GEOMETRIC, start=len(_PHOTOMETRIC)):
        is_chosen = chosen == number
        geometric |= is_chosen
        matrices[is_chosen] = _GEOMETRIC[name](signs[is_chosen] * strength, height, width)
    members = geometric.nonzero().flatten()
    if len(members):
        on_device = members.to(images.device)
        images[on_device] = affine(images[on_device], matrices[members])

    members = (chosen == len(OPERATIONS) - 1).nonzero().flatten()
    if len(members):
        half = int(strength * _CUTOUT * min(height, width) / _REFERENCE_SIZE)
        on_device = members.to(images.device)
        images[on_device] = cutout(images[on_device], centres[members], half)


def auto_contrast(images: Tensor) -> Tensor:
    """Stretch each channel linearly to 0 … 255; a channel of one value stays."""
    flat = images.flatten(2)
    low, high = flat.amin(2, keepdim=True).double(), flat.amax(2, keepdim=True).double()
    levels = torch.arange(256, device=images.device, dtype=torch.float64)
    gain = 255 / (high - low).clamp(min=1)  # (B, 3, 1)
    tables = torch.where(high > low, (levels * gain - low * gain).clamp(0, 255), levels)
    return _look_up(images, tables.to(torch.uint8))


def equalize(images: Tensor) -> Tensor:
    """Spread the grey levels of each channel so that they become about equally frequent."""
    from torchvision.transforms.v2 import functional as vision  # slow to load

    equal: Tensor = vision.equalize(images)
    return equal


def _look_up(images: Tensor, tables: Tensor) -> Tensor:
    """Replace each level of each channel by its entry in `tables` (B, C, 256)."""
    return tables.gather(2, images.flatten(2).long()).view_as(images)


def invert(images: Tensor) -> Tensor:
    """Return the negatives."""
    return 255 - images


def posterize(images: Tensor, bits: int) -> Tensor:
    """Keep the highest `bits` bits of each value; 8 and more keep the image."""
    return images & (0xFF << max(8 - bits, 0) & 0xFF)


def solarize(images: Tensor, threshold: int) -> Tensor:
    """Invert the values of at least `threshold`; above 255 keeps the image."""
    if threshold > 255:
        return images.clone()
    return torch.where(images < threshold, images, 255 - images)


def solarize_add(images: Tensor, addition: int) -> Tensor:
    """Add `addition`, at least 0, to the values below 128, up to white."""
    lifted = images.clamp(max=255 - min(addition, 255)) + min(addition, 255)
    return torch.where(images < _LIFTED_BELOW, lifted, images)


def color(images: Tensor, factor: float) -> Tensor:
    """Change the saturation: 0 is grey, 1 the image, more exaggerates."""
    return _blend(_grey(images), images, factor)


def contrast(images: Tensor, factor: float) -> Tensor:
    """Change the contrast: 0 is the image's mean grey, 1 the image, more exaggerates."""
    mean = _grey(images).double().mean((1, 2, 3), keepdim=True)  # (B, 1, 1, 1)
    return _blend((mean + 0.5).floor(), images, factor)


def brightness(images: Tensor, factor: float) -> Tensor:
    """Change the brightness: 0 is black, 1 the image, more is brighter."""
    return _blend(torch.zeros_like(images), images, factor)


def sharpness(images: Tensor, factor: float) -> Tensor:
    """Change the sharpness: 0 is smoothed, 1 the image, more sharpens; the border stays."""
    from torchvision.transforms.v2 import functional as vision  # slow to load

    sharp: Tensor = vision.adjust_sharpness(images, factor)
    return sharp


def _grey(images: Tensor) -> Tensor:
    """Return the luma of ITU-R 601 (B, 1, H, W) uint8, in 16-bit fixed point like Pillow."""
    red, green, blue = images.int().unbind(1)
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).to(torch.uint8)[:, None]


def _blend(base: Tensor, images: Tensor, factor: float) -> Tensor:
    """Return base + factor (images - base), cut to 0 … 255 and rounded down as in the source."""
    base = base.float()
    return (base + factor * (images.float() - base)).clamp_(0, 255).to(torch.uint8)


def affine(images: Tensor, matrices: Tensor) -> Tensor:
    """Read each image at `matrices` (B, 2, 3) applied to the pixel (x, y, 1), to the nearest pixel.

    Coordinates count pixel centres from the top left one; outside the image lies middle grey.
    """
    height, width = images.shape[-2:]
    matrices = matrices.to(images.device)[:, :, :, None, None]  # (B, 2, 3, 1, 1)
    x = torch.arange(width, device=images.device)
    y = torch.arange(height, device=images.device)[:, None]
    source = matrices[:, :, 0] * x + matrices[:, :, 1] * y + matrices[:, :, 2]  # (B, 2, H, W)
    columns, rows = (source + 0.5).floor().long().unbind(1)  # (B, H, W) each
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    index = (rows * width + columns).where(inside, 0).flatten(1)  # (B, H * W)
    index = index[:, None].expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, index).view_as(images).where(inside[:, None], _FILL)


def cutout(images: Tensor, centres: Tensor, half: int) -> Tensor:
    """Paint a grey square from `half` pixels before to `half` pixels after a centre pixel.

    `centres` (B, 2) in [0, 1) are shares of width and height. What lies outside is cut off.
    """
    height, width = images.shape[-2:]
    size = torch.tensor([width, height])
    centres = (centres * size).floor()
    boxes = torch.cat([(centres - half) / size, (centres + half) / size], dim=1)
    return images.where(~rectangle_mask(boxes.to(images.device), height, width), _FILL)


def rotation_matrices(degrees: Tensor, height: int, width: int) -> Tensor:
    """Return `affine` matrices (B, 2, 3) that turn counter-clockwise about the centre."""
    angles = degrees * (math.pi / 180)
    cosine, sine = angles.cos(), angles.sin()
    x, y = (width - 1) / 2, (height - 1) / 2
    return torch.stack(
        [
            torch.stack([cosine, -sine, x - cosine * x + sine * y], dim=1),
            torch.stack([sine, cosine, y - sine * x - cosine * y], dim=1),
        ],
        dim=1,
    )


def shear_x_matrices(shears: Tensor) -> Tensor:
    """Return `affine` matrices (B, 2, 3) that slant columns about the top left pixel."""
    return _identity_with(shears, row=0, column=1)


def shear_y_matrices(shears: Tensor) -> Tensor:
    """Return `affine` matrices (B, 2, 3) that slant rows about the top left pixel."""
    return _identity_with(shears, row=1, column=0)


def translate_x_matrices(pixels: Tensor) -> Tensor:
    """Return `affine` matrices (B, 2, 3) that move images to the left by `pixels`."""
    return _identity_with(pixels, row=0, column=2)


def translate_y_matrices(pixels: Tensor) -> Tensor:
    """Return `affine` matrices (B, 2, 3) that move images up by `pixels`."""
    return _identity_with(pixels, row=1, column=2)


def _identity_with(values: Tensor, row: int, column: int) -> Tensor:
    matrices = torch.eye(2, 3, dtype=values.dtype).repeat(len(values), 1, 1)
    matrices[:, row, column] = values
    return matrices


def _enhancement(strength: float) -> float:
    return strength * 1.8 + 0.1


# Each takes the images and the strength, of which 1 is the full range.
_PHOTOMETRIC: dict[str, Callable[[Tensor, float], Tensor]] = {
    "AutoContrast": lambda images, strength: auto_contrast(images),
    "Equalize": lambda images, strength: equalize(images),
    "Invert": lambda images, strength: invert(images),
    "Posterize": lambda images, strength: posterize(images, int(strength * 4)),
    "Solarize": lambda images, strength: solarize(images, int(strength * 256)),
    "SolarizeAdd": lambda images, strength: solarize_add(images, int(strength * 110)),
    "Color": lambda images, strength: color(images, _enhancement(strength)),
    "Contrast": lambda images, strength: contrast(images, _enhancement(strength)),
    "Brightness": lambda images, strength: brightness(images, _enhancement(strength)),
    "Sharpness": lambda images, strength: sharpness(images, _enhancement(strength)),
}

# Each takes strengths (B,), whose sign is drawn, and the images' height and width.
_GEOMETRIC: dict[str, Callable[[Tensor, int, int], Tensor]] = {
    "Rotate": lambda s, height, width: rotation_matrices(s * _ROTATION, height, width),
    "ShearX": lambda s, height, width: shear_x_matrices(s * _SHEAR),
    "ShearY": lambda s, height, width: shear_y_matrices(s * _SHEAR),
    "TranslateX": lambda s, height, width: translate_x_matrices(
        s * (_TRANSLATION * width / _REFERENCE_SIZE)
    ),
    "TranslateY": lambda s, height, width: translate_y_matrices(
        s * (_TRANSLATION * height / _REFERENCE_SIZE)
    ),
}

OPERATIONS = (*_PHOTOMETRIC, *_GEOMETRIC, "Cutout")
