"""Blur: out of focus, by motion, by zooming. Images are (B, 3, H, W) in [0, 1].

Beyond the border, pixels are taken to be as those at the border.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2.functional import gaussian_blur

Chances = Sequence[torch.Generator]
"""A generator for each image."""

_SMALL_DISK = 8
"""Radius in pixels up to which a disk's edge is smoothed over 3 pixels, then over 5."""
_STEEPEST = 45.0
"""Degrees that a motion's direction may be off the horizontal."""


def defocus(pixels: Tensor, strength: tuple[float, float], chances: Chances) -> Tensor:
    """Spread each pixel over a disk, whose radius and smoothness of edge are in pixels."""
    radius, smoothness = strength
    taps = 3 if radius <= _SMALL_DISK else 5
    reach = math.ceil(radius) + taps // 2
    across = torch.arange(-reach, reach + 1, dtype=torch.float32)
    disk = (across[:, None] ** 2 + across**2 <= radius**2).float()
    kernel = gaussian_blur((disk / disk.sum())[None], [taps, taps], [smoothness, smoothness])
    padded = functional.pad(pixels, [reach] * 4, mode="replicate")
    return functional.conv2d(padded, kernel.expand(3, 1, -1, -1).contiguous(), groups=3)


def motion(pixels: Tensor, strength: tuple[int, float], chances: Chances) -> Tensor:
    """Smear each image one way, by a half Gaussian along a line in a random direction.

    `strength` is the length, as half the pixels of the line, and the standard deviation in pixels.
    """
    length, deviation = strength
    places = range(2 * length + 1)
    weights = [math.exp(-(place**2) / (2 * deviation**2)) for place in places]
    reach = 2 * length
    padded = functional.pad(pixels, [reach] * 4, mode="replicate")
    height, width = pixels.shape[2:]
    smeared = torch.zeros_like(pixels)
    for number, chance in enumerate(chances):
        angle = math.radians((2 * float(torch.rand((), generator=chance)) - 1) * _STEEPEST)
        for place, weight in zip(places, weights, strict=True):
            top = reach + round(place * math.sin(angle))
            left = reach + round(place * math.cos(angle))
            part = padded[number, :, top : top + height, left : left + width]
            smeared[number].add_(part, alpha=weight / sum(weights))
    return smeared


def zoom(pixels: Tensor, factors: tuple[float, ...], chances: Chances) -> Tensor:
    """Average each image with itself enlarged about its centre by all the factors."""
    total = pixels.clone()
    for factor in factors:
        scale = torch.tensor([[1 / factor, 0.0, 0.0], [0.0, 1 / factor, 0.0]])
        where = functional.affine_grid(
            scale.expand(len(pixels), 2, 3), list(pixels.shape), align_corners=False
        )
        total += functional.grid_sample(pixels, where, padding_mode="border", align_corners=False)
    return total / (len(factors) + 1)
