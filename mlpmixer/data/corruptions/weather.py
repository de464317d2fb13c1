"""Weather: fog, and too much light. Images are (B, 3, H, W) in [0, 1]."""

from collections.abc import Sequence

import torch
from torch import Tensor

Chances = Sequence[torch.Generator]
"""A generator for each image."""


def fog(pixels: Tensor, strength: tuple[float, float], chances: Chances) -> Tensor:
    """Add clouds, and dim the whole so that the lightest pixel can stay as light as it was.

    `strength` is the amount, where 1 is white, and the decay of `plasma`.
    """
    amount, decay = strength
    height, width = pixels.shape[2:]
    side = 1 << (max(height, width) - 1).bit_length()
    clouds = plasma(side, decay, chances)[:, None, :height, :width]
    lightest = pixels.amax(dim=(1, 2, 3), keepdim=True)
    return (pixels + amount * clouds) * lightest / (lightest + amount)


def brightness(pixels: Tensor, amount: float, chances: Chances) -> Tensor:
    """Raise the value of every pixel in the HSV colour space, hue and saturation kept."""
    value = pixels.amax(dim=1, keepdim=True)
    raised = (value + amount).clamp(max=1)
    return torch.where(value > 0, pixels * raised / value.clamp(min=1e-6), raised)


def plasma(side: int, decay: float, chances: Chances) -> Tensor:
    """Return clouds (B, side, side) from 0 to 1 by the diamond-square algorithm, on a torus.

    The mean of four neighbours plus a random height makes each point between them, first of a
    coarse grid and then of ever finer ones, where heights are `decay` squared times smaller.
    `side` is a power of two.
    """
    maps = torch.zeros(len(chances), side, side)
    step, height = side, 1.0
    while step >= 2:
        half = step // 2
        corners = maps[:, ::step, ::step]  # (B, n, n)

        def heights(like: Tensor = corners, height: float = height) -> Tensor:
            drawn = [torch.rand(like.shape[1:], generator=one) for one in chances]
            return height * (2 * torch.stack(drawn) - 1)

        below, beside = corners + corners.roll(-1, 1), corners + corners.roll(-1, 2)
        centres = (below + below.roll(-1, 2)) / 4 + heights()
        upper, left = centres + centres.roll(1, 1), centres + centres.roll(1, 2)
        maps[:, half::step, half::step] = centres
        maps[:, ::step, half::step] = (beside + upper) / 4 + heights()
        maps[:, half::step, ::step] = (below + left) / 4 + heights()
        step, height = half, height / decay**2
    maps = maps - maps.amin(dim=(1, 2), keepdim=True)
    return maps / maps.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)
