"""Noise: of a sensor, of few photons, of broken pixels. Images are (B, 3, H, W) in [0, 1]."""

from collections.abc import Sequence

import torch
from torch import Tensor

Chances = Sequence[torch.Generator]
"""A generator for each image."""


def gaussian(pixels: Tensor, deviation: float, chances: Chances) -> Tensor:
    """Add normal noise of a standard deviation to every value."""
    shape = pixels.shape[1:]
    return pixels + deviation * torch.stack([torch.randn(shape, generator=one) for one in chances])


def shot(pixels: Tensor, photons: float, chances: Chances) -> Tensor:
    """Count photons, `photons` of them where a value is 1, each by chance (Poisson)."""
    counted = [
        torch.poisson(one * photons, generator=c) for one, c in zip(pixels, chances, strict=True)
    ]
    return torch.stack(counted) / photons


def impulse(pixels: Tensor, share: float, chances: Chances) -> Tensor:
    """Turn a share of all values into 0 or 1, as often into one as into the other."""
    shape = pixels.shape[1:]
    drawn = torch.stack([torch.rand(shape, generator=one) for one in chances])
    return torch.where(drawn < share, (drawn < share / 2).to(pixels.dtype), pixels)
