"""Whether a file for another runtime answers as the model that it was made from."""

from dataclasses import dataclass
from itertools import cycle
from typing import NamedTuple

import torch
from torch import Tensor

from mlpmixer.data.augment import normalize
from mlpmixer.formatting import counted, number, percent
from mlpmixer.models.interface import ImageModel

BATCH_SIZES = (1, 3, 8)
"""In turn, so that a graph made for one size shows itself."""


class Bound(NamedTuple):
    """What a precision may change."""

    difference: float
    """Of logits, as a share of the source's largest."""
    agreement: float
    """Least share of images with the same most probable class."""


BOUNDS = {
    "float32": Bound(1e-4, 1.0),
    "float16": Bound(0.02, 0.99),
    "int8": Bound(0.3, 0.9),
}


@dataclass(frozen=True)
class Comparison:
    """An export beside its source, on the same images."""

    images: int
    precision: str
    difference: float
    """Largest difference of a logit."""
    largest: float
    """Largest logit of the source, by its size."""
    agreement: float
    """Share of images with the same most probable class; the source's ties count as the same."""

    @property
    def bound(self) -> Bound:
        """What the precision may change."""
        return BOUNDS[self.precision]

    @property
    def passes(self) -> bool:
        """Whether the export is within its bounds."""
        near = self.difference <= self.bound.difference * max(self.largest, 1e-6)
        return near and self.agreement >= self.bound.agreement

    def __str__(self) -> str:
        share = self.difference / max(self.largest, 1e-6)
        return (
            f"{counted(self.images, 'image')}: logits differ by at most {number(self.difference)}, "
            f"{number(share)} of the largest (allowed: {self.bound.difference:g}); top-1 agrees on "
            f"{percent(self.agreement)} (needed: {percent(self.bound.agreement, 0)})"
        )


@torch.inference_mode()
def compare(source: ImageModel, exported: ImageModel, pixels: Tensor, precision: str) -> Comparison:
    """Run a model and its export over pixels, uint8 (N, 3, H, W), in batches of several sizes."""
    sizes, begin = cycle(BATCH_SIZES), 0
    expected, found = [], []
    while begin < len(pixels):
        images = normalize(pixels[begin : begin + next(sizes)])
        begin += len(images)
        expected.append(source(images).float())
        found.append(exported(images))
    right, answer = torch.cat(expected), torch.cat(found)
    largest = right.abs().max().item()
    difference = (answer - right).abs().max().item()
    # A tie within what float32 may change is decided by rounding, in any runtime.
    best, taken = right.amax(dim=1), right.gather(1, answer.argmax(dim=1, keepdim=True))[:, 0]
    tie = 2 * BOUNDS["float32"].difference * largest
    agreement = (best - taken <= tie).float().mean().item()
    if not torch.isfinite(answer).all():
        difference = float("inf")
    return Comparison(len(pixels), precision, difference, largest, agreement)
