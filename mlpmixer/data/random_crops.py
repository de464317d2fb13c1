"""How training images are cropped and flipped: settled once, drawn by the step.

What is random is drawn for the whole batch and belongs to a position in it, so that images from
memory and from any number of workers are cropped alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import torch
from torch import Tensor

from mlpmixer.data import crops
from mlpmixer.data.dataset import Split
from mlpmixer.data.image_sizes import common_size
from mlpmixer.data.options import AugmentOptions
from mlpmixer.errors import UsageError
from mlpmixer.randomness import generator
from mlpmixer.values import check_ranges


class CropDraws(NamedTuple):
    """What was drawn for the images of a batch, on the CPU."""

    flips: Tensor
    """(B,) bool."""
    offsets: Tensor
    """(B, 2) int64: rows and columns to shift by."""
    boxes: crops.BoxDraws | None
    """Of Inception crops; None for others."""

    def part(self, positions: slice | list[int]) -> Self:
        """Return the draws of the images at these positions."""
        boxes = None if self.boxes is None else self.boxes.part(positions)
        return self._replace(
            flips=self.flips[positions], offsets=self.offsets[positions], boxes=boxes
        )


@dataclass(frozen=True)
class RandomCrop:
    """The crop and flip of training images for a model's input of `size` (H, W).

    Raises ValueError where the options leave the crop open: `settle_crop` comes first.
    """

    options: AugmentOptions
    size: tuple[int, int]

    def __post_init__(self) -> None:
        if self.options.crop == "auto":
            raise ValueError("crop=auto has to be settled before images are cropped")

    @property
    def of_whole_pictures(self) -> bool:
        """Whether the crop starts from the whole picture, and not from the evaluation crop."""
        return self.options.crop == "inception"

    def draw(self, count: int, seed: int, step: int) -> CropDraws:
        """Draw for the whole batch of `count` images of a step."""
        options, chance = self.options, generator(seed, "crop", step)
        flips = crops.random_flips(count, options.flip, chance)
        pad = options.pad if options.crop == "pad" else 0
        offsets = crops.random_offsets(count, pad, chance)
        if not self.of_whole_pictures:
            return CropDraws(flips, offsets, None)
        boxes = crops.draw_inception_boxes(
            count, chance, scale=options.crop_scale, target_ratio=self._target_ratio
        )
        return CropDraws(flips, offsets, boxes)

    def apply(self, images: Tensor | Sequence[Tensor], draws: CropDraws) -> Tensor:
        """Return training images (B, 3, *size) uint8, on the device of `images`.

        `images` are evaluation crops (B, 3, *size) or, where the crop is `of_whole_pictures`,
        pictures (3, h, w); uint8.
        """
        if draws.boxes is None:
            assert isinstance(images, Tensor)
            return crops.shift(images, draws.offsets, draws.flips)
        if isinstance(images, Tensor):
            shapes = [images.shape[1:]] * len(images)
        else:
            shapes = [image.shape for image in images]
        boxes = self.boxes(draws, [(width, height) for _, height, width in shapes])
        return crops.extract(images, boxes, draws.flips, self.size)

    def boxes(self, draws: CropDraws, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """Return where to look in whole pictures of `sizes` (width, height), (B, 4) in [0, 1]."""
        assert draws.boxes is not None  # where the crop is of whole pictures
        ratios = torch.tensor([width / height for width, height in sizes], dtype=torch.float64)
        return crops.inception_boxes(draws.boxes, ratios, target_ratio=self._target_ratio)

    @property
    def _target_ratio(self) -> float:
        return self.size[1] / self.size[0]


def settle_crop(
    options: AugmentOptions, split: Split, image_size: tuple[int, int]
) -> AugmentOptions:
    """Return the options with `auto` replaced by the crop that suits data and model.

    Where the training images have the model's `image_size` (H, W) that is `pad`, else
    `inception`. It depends on nothing else, so that a run is the same wherever images are kept.

    Raises:
        UsageError: an option is out of range.
    """
    if options.crop == "auto":
        fits = common_size(split) == tuple(image_size)
        options = replace(options, crop="pad" if fits else "inception")
    _check(options, image_size)
    return options


def _check(options: AugmentOptions, image_size: tuple[int, int]) -> None:
    check_ranges(options)
    smallest, largest = options.crop_scale
    if smallest > largest:
        raise UsageError(
            f"--crop-scale {smallest} {largest} begins with the larger share: give the smaller "
            f"first, --crop-scale {largest} {smallest}."
        )
    if options.crop == "pad" and options.pad >= min(image_size):
        raise UsageError(
            f"--pad {options.pad} does not fit images of {image_size[0]} x {image_size[1]} pixels: "
            f"use --pad {min(image_size) - 1} or less."
        )
