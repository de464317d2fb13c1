"""Augmentations after normalisation: mixup, CutMix, random erasing.

mixup and CutMix draw one ratio a batch, as both papers' code and the released Mixer recipe do:
their probability is a share of batches, and CutMix then is a single copy of one rectangle.

Processes that share a batch hold every `world`-th position of it and exchange no pixels, and yet
the same images are to be mixed however many they are. So partners are drawn within the positions
that are equal modulo `mixing_groups(batch)`: whoever holds one of them holds all. In each such
group the images stand in a random circle, and each one's partner is the next in it.
"""

import math

import numpy as np
import torch
from torch import Tensor

from mlpmixer.data.crops import draw_boxes, fit_boxes, rectangle_mask
from mlpmixer.ranks import ALONE, Ranks

_ERASED_AREA = (0.02, 0.4)  # share of the image, arXiv 1708.04896, section 4
_ERASED_RATIO = (0.3, 1 / 0.3)
MOST_GROUPS = 64
SMALLEST_GROUP = 8
"""Images that partners are at least drawn among, where the batch has as many."""


def mixing_groups(batch: int) -> int:
    """Return into how many groups a batch falls for mixing.

    It is the largest power of two up to MOST_GROUPS that divides the batch into groups of
    SMALLEST_GROUP or more; numbers of processes that divide it can mix.
    """
    groups = 1
    while groups < MOST_GROUPS and batch % (2 * groups) == 0:
        if batch // (2 * groups) < SMALLEST_GROUP:
            break
        groups *= 2
    return groups


def one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """Return targets (B, K) float32 for `labels` int64, (B,) or several of each image (B, L)."""
    targets = torch.zeros(len(labels), num_classes, device=labels.device)
    return targets.scatter_(1, labels.view(len(labels), -1), 1.0)


def mixup(
    images: Tensor,
    targets: Tensor,
    alpha: float,
    generator: torch.Generator,
    ranks: Ranks = ALONE,
) -> tuple[Tensor, Tensor]:
    """Average each image and its target with those of a partner (arXiv 1710.09412).

    `images` (B, C, H, W) and `targets` (B, K) float; the ratio is drawn from Beta(alpha, alpha).
    Returns new tensors of these shapes.
    """
    ratio = _draw_ratio(alpha, generator)
    partners = _draw_partners(images, generator, ranks)
    return images[partners].lerp_(images, ratio), targets[partners].lerp_(targets, ratio)


def cutmix(
    images: Tensor,
    targets: Tensor,
    alpha: float,
    generator: torch.Generator,
    ranks: Ranks = ALONE,
) -> tuple[Tensor, Tensor]:
    """Paste a rectangle of a partner into each image (arXiv 1905.04899).

    `images` (B, C, H, W) and `targets` (B, K) float. The area is drawn from Beta(alpha, alpha) and
    the centre uniformly; what lies outside is cut off, and targets weigh the pixels that are left.
    Returns new tensors of these shapes.
    """
    height, width = images.shape[-2:]
    side = math.sqrt(1 - _draw_ratio(alpha, generator))
    centre_y, centre_x = torch.rand(2, generator=generator).tolist()
    top, bottom = _interval(centre_y, side, height)
    left, right = _interval(centre_x, side, width)
    partners = _draw_partners(images, generator, ranks)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images[partners, :, top:bottom, left:right]
    kept = 1 - (bottom - top) * (right - left) / (height * width)
    return mixed, targets[partners].lerp_(targets, kept)


def _draw_ratio(alpha: float, generator: torch.Generator) -> float:
    # PyTorch's beta distribution takes no generator: one draw seeds NumPy's.
    seed = torch.randint(2**63 - 1, (), generator=generator).item()
    return float(np.random.default_rng(int(seed)).beta(alpha, alpha))


def _draw_partners(images: Tensor, generator: torch.Generator, ranks: Ranks) -> Tensor:
    """Return which of the own images (B, …) is the partner of each, (B,) on their device."""
    batch = len(images) * ranks.world
    groups = mixing_groups(batch)
    if groups % ranks.world:
        raise ValueError(f"{ranks.world} ranks do not divide the {groups} groups of a batch")
    circle = torch.rand(batch // groups, groups, generator=generator).argsort(dim=0)
    following = torch.empty_like(circle).scatter_(0, circle, circle.roll(-1, dims=0))
    partners = following * groups + torch.arange(groups)  # positions in the batch, (B / G, G)
    return (partners.flatten()[ranks.own] // ranks.world).to(images.device)


def _interval(centre: float, side: float, pixels: int) -> tuple[int, int]:
    """Return the first and one past the last pixel of a side, all in shares of `pixels`."""
    start, stop = round((centre - side / 2) * pixels), round((centre + side / 2) * pixels)
    return max(start, 0), min(stop, pixels)


def random_erase(
    images: Tensor, probability: float, generator: torch.Generator, ranks: Ranks = ALONE
) -> Tensor:
    """Replace a rectangle of an image by noise with the given probability (arXiv 1708.04896).

    `images` (B, C, H, W) float in [-1, 1]; rectangles cover 2 … 40 % of the image with an aspect
    ratio log-uniform in 0.3 … 1/0.3. Returns a new tensor of that shape.
    """
    count, _, height, width = images.shape
    aspect_ratios = torch.full((count,), width / height, dtype=torch.float64)
    whole, own = count * ranks.world, ranks.own
    draws = draw_boxes(whole, generator, scale=_ERASED_AREA, ratio=_ERASED_RATIO)
    boxes, found = fit_boxes(draws.part(own), aspect_ratios)
    erased = found & (torch.rand(whole, generator=generator)[own] < probability)
    boxes *= erased[:, None]  # a box of no size covers no pixel
    # One noise image serves all rectangles of a batch: it is drawn on the CPU, where an image's
    # worth is cheap and the generator gives the same bits whatever the device.
    noise = torch.rand(images.shape[1:], generator=generator) * 2 - 1
    mask = rectangle_mask(boxes.to(images.device, torch.float32), height, width)
    return torch.where(mask, noise.to(images.device, images.dtype), images)
