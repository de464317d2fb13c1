"""Crops and flips: where in an image to look, and how to cut that part out.

Boxes are (left, top, right, bottom) as shares of the image's width and height, in [0, 1]; aspect
ratios are width / height. What is random about a box is drawn before the images are known, so
that the same is drawn wherever they come from.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor

from mlpmixer.data.picture import training_crop

_INCEPTION_RATIOS = (3 / 4, 4 / 3)
_ATTEMPTS = 10


def shift(images: Tensor, offsets: Tensor, flips: Tensor) -> Tensor:
    """Move each image by whole pixels, filling with its mirrored border, then flip some of them.

    `images` (B, C, H, W) of any dtype; `offsets` (B, 2) int64, the first row and column read,
    between 1 - size and size - 1; `flips` (B,) bool. Returns a new tensor like `images`.
    """
    height, width = images.shape[-2:]
    rows = _mirror(torch.arange(height) + offsets[:, :1], height)  # (B, H)
    columns = _mirror(torch.arange(width) + offsets[:, 1:], width)  # (B, W)
    columns = torch.where(flips[:, None], columns.flip(1), columns)
    # A single gather from the flattened image costs a third of one gather a side.
    rows, columns = rows.to(images.device), columns.to(images.device)
    source = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)  # (B, H * W)
    source = source[:, None].expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, source).view_as(images)


def _mirror(index: Tensor, size: int) -> Tensor:
    """Reflect indices outside 0 … size - 1 at the border pixel, which is not repeated."""
    index = index.abs()
    return torch.where(index < size, index, 2 * (size - 1) - index)


def random_offsets(count: int, pad: int, generator: torch.Generator) -> Tensor:
    """Draw offsets for `shift`, uniform in -pad … pad on each axis. Returns (B, 2) int64."""
    return torch.randint(-pad, pad + 1, (count, 2), generator=generator)


def random_flips(count: int, probability: float, generator: torch.Generator) -> Tensor:
    """Draw which of `count` images to flip. Returns (B,) bool."""
    return torch.rand(count, generator=generator) < probability


class BoxDraws(NamedTuple):
    """What is random about a box an image, float64."""

    areas: Tensor
    """(B, 10) shares of the image's area."""
    ratios: Tensor
    """(B, 10) aspect ratios in pixels."""
    corners: Tensor
    """(B, 2) where the box lies in what is free, across and down, in [0, 1]."""

    def part(self, positions: slice | list[int]) -> Self:
        """Return the draws of the images at these positions."""
        areas, ratios, corners = (drawn[positions] for drawn in self)
        return self._replace(areas=areas, ratios=ratios, corners=corners)


def draw_boxes(
    count: int,
    generator: torch.Generator,
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> BoxDraws:
    """Draw boxes: area share uniform in `scale`, aspect ratio log-uniform in `ratio`."""
    draws = torch.rand(count, 2 * _ATTEMPTS + 2, generator=generator, dtype=torch.float64)
    area, log_ratio, corner = draws.split([_ATTEMPTS, _ATTEMPTS, 2], dim=1)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    ratios = (low + log_ratio * (high - low)).exp()
    return BoxDraws(scale[0] + area * (scale[1] - scale[0]), ratios, corner)


def fit_boxes(draws: BoxDraws, aspect_ratios: Tensor) -> tuple[Tensor, Tensor]:
    """Return of each image's ten boxes the first that fits into it.

    `aspect_ratios` (B,) are those of the images. Returns boxes (B, 4) float64 and (B,) bool:
    whether any did fit; where none did, the box means nothing.
    """
    # A box of aspect ratio r is, in shares of an image of aspect ratio a, of aspect ratio r / a.
    stretch = draws.ratios / aspect_ratios.double()[:, None]
    sides = torch.stack([(draws.areas * stretch).sqrt(), (draws.areas / stretch).sqrt()], dim=2)
    fits = (sides <= 1).all(dim=2)  # (B, 10)
    first = fits.byte().argmax(dim=1)
    sides = sides[torch.arange(len(sides)), first]  # (B, 2)
    corners = draws.corners * (1 - sides)
    return torch.cat([corners, corners + sides], dim=1).clamp_(0, 1), fits.any(dim=1)


def draw_inception_boxes(
    count: int,
    generator: torch.Generator,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    target_ratio: float = 1.0,
) -> BoxDraws:
    """Draw the random crops of "Going deeper with convolutions" (arXiv 1409.4842, section 6).

    Each covers a share of its image's area uniform in `scale`, with an aspect ratio log-uniform
    within 3/4 … 4/3 of `target_ratio` (the model's width / height).
    """
    low, high = (bound * target_ratio for bound in _INCEPTION_RATIOS)
    return draw_boxes(count, generator, scale=scale, ratio=(low, high))


def inception_boxes(draws: BoxDraws, aspect_ratios: Tensor, *, target_ratio: float = 1.0) -> Tensor:
    """Return the boxes of `draw_inception_boxes` in images of `aspect_ratios` (B,).

    If ten draws do not fit, the largest central box of an allowed aspect ratio is taken, as
    torchvision's RandomResizedCrop does
    (https://docs.pytorch.org/vision/stable/transforms.html). Returns (B, 4) float64.
    """
    boxes, found = fit_boxes(draws, aspect_ratios)
    low, high = (bound * target_ratio for bound in _INCEPTION_RATIOS)
    fallback = _largest_boxes(aspect_ratios.double(), aspect_ratios.double().clamp(low, high))
    return torch.where(found[:, None], boxes, fallback)


def _largest_boxes(aspect_ratios: Tensor, wanted: Tensor) -> Tensor:
    """Return the largest central boxes of the `wanted` aspect ratios (B,). (B, 4) float64."""
    stretch = wanted / aspect_ratios
    sides = torch.stack([stretch, 1 / stretch], dim=1).clamp_(max=1)
    return torch.cat([(1 - sides) / 2, (1 + sides) / 2], dim=1)


def extract(
    images: Tensor | Sequence[Tensor], boxes: Tensor, flips: Tensor, size: tuple[int, int]
) -> Tensor:
    """Cut a box out of each image and resize it to `size` (H, W), as `training_crop` does.

    `images` (B, 3, h, w) uint8 on any device, or a sequence of (3, h, w) on the CPU; `boxes`
    (B, 4) and `flips` (B,) on the CPU. Returns (B, 3, *size) uint8, to one grey level the same on
    every device.
    """
    # One image after the other is much the faster on a CPU, but would leave a GPU idle.
    if isinstance(images, Tensor) and images.device.type != "cpu":
        return extract_together(images, boxes, flips, size)
    parts = torch.empty(len(images), 3, *size, dtype=torch.uint8)
    chosen = zip(images, boxes.tolist(), flips.tolist(), strict=True)
    for part, (image, box, flip) in zip(parts, chosen, strict=True):
        training_crop(image, box, flip, size, out=part)
    return parts


def extract_together(images: Tensor, boxes: Tensor, flips: Tensor, size: tuple[int, int]) -> Tensor:
    """Do the same for images (B, C, h, w) as two batched matrix products, one a side."""
    count, channels, height, width = images.shape
    starts, stops = boxes.double().view(-1, 2, 2).unbind(1)  # (B, 2) each: x, y
    sides = torch.tensor([width, height])
    low = (starts * sides).round().long().clamp(max=sides - 1)
    high = (stops * sides).round().long().clamp(min=low + 1)
    low, high = low.to(images.device), high.to(images.device)
    columns = _filter_weights(low[:, 0], high[:, 0], width, size[1])  # (B, w, W)
    columns = torch.where(flips.to(images.device)[:, None, None], columns.flip(1), columns)
    rows = _filter_weights(low[:, 1], high[:, 1], height, size[0])  # (B, h, H)
    with torch.autocast(images.device.type, enabled=False):
        pixels = images.float().reshape(count, channels * height, width) @ columns.mT
        pixels = rows[:, None] @ pixels.view(count, channels, height, size[1])  # (B, C, h, w)
    # Above 255 by rounding, if products in reduced precision are allowed, would wrap to black.
    return pixels.round_().clamp_(max=255).to(torch.uint8)


def _filter_weights(low: Tensor, high: Tensor, pixels: int, samples: int) -> Tensor:
    """Return the share of each source pixel in each sample of what lies from `low` to `high`.

    `low`, `high` (B,) int64 in 0 … pixels. Returns (B, samples, pixels), each row summing to 1.
    """
    step = ((high - low) / samples)[:, None]  # (B, 1) source pixels a sample
    position = torch.arange(pixels, device=low.device)
    centres = low[:, None] + (torch.arange(samples, device=low.device) + 0.5) * step
    distance = (position + 0.5 - centres[:, :, None]).abs()  # (B, samples, pixels)
    weights = (1 - distance / step.clamp(min=1)[:, :, None]).clamp_(min=0)
    weights *= ((position >= low[:, None]) & (position < high[:, None]))[:, None]
    return weights / weights.sum(dim=2, keepdim=True)


def rectangle_mask(boxes: Tensor, height: int, width: int) -> Tensor:
    """Return (B, 1, H, W) bool: the pixels whose centre lies in `boxes` (B, 4), on their device."""
    left, top, right, bottom = boxes[:, :, None].unbind(1)  # (B, 1) each
    x = (torch.arange(width, device=boxes.device) + 0.5) / width
    y = (torch.arange(height, device=boxes.device) + 0.5) / height
    columns = (x >= left) & (x < right)  # (B, W)
    rows = (y >= top) & (y < bottom)  # (B, H)
    return (rows[:, :, None] & columns[:, None, :])[:, None]
