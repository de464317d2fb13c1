"""What editing and storing does to an image. Images are (B, 3, H, W) in [0, 1]."""

import io
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

Chances = Sequence[torch.Generator]
"""A generator for each image; nothing here is random."""


def contrast(pixels: Tensor, share: float, chances: Chances) -> Tensor:
    """Keep a share of each value's distance from the mean of its channel."""
    return pixels.mean(dim=(2, 3), keepdim=True).lerp(pixels, share)


def pixelate(pixels: Tensor, share: float, chances: Chances) -> Tensor:
    """Reduce the sides to a share by Pillow's box filter, and enlarge them again."""
    height, width = pixels.shape[2:]
    small = max(1, int(width * share)), max(1, int(height * share))
    box = Image.Resampling.BOX
    return _one_by_one(pixels, lambda one: one.resize(small, box).resize((width, height), box))


def jpeg(pixels: Tensor, quality: int, chances: Chances) -> Tensor:
    """Store as JPEG in a quality of 1 to 95, by Pillow."""

    def stored(one: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        one.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer).convert("RGB")

    return _one_by_one(pixels, stored)


def _one_by_one(pixels: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    bytes_ = pixels.mul(255).round_().to(torch.uint8).permute(0, 2, 3, 1).numpy()  # (B, H, W, 3)
    changed = np.stack([np.asarray(change(Image.fromarray(one))) for one in bytes_])
    return torch.from_numpy(changed).permute(0, 3, 1, 2).float() / 255
