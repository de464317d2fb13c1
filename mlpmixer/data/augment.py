"""What happens to a batch of 8-bit images between the loader and the model."""

import torch
from torch import Tensor

from mlpmixer.data import crops
from mlpmixer.data.mixing import cutmix, mixup, one_hot, random_erase
from mlpmixer.data.options import AugmentOptions
from mlpmixer.data.randaugment import rand_augment
from mlpmixer.errors import UsageError


def normalize(images: Tensor) -> Tensor:
    """Map uint8 images, any shape, from 0 … 255 to float32 in [-1, 1].

    Raises ValueError for another type, whose range could be anything.
    """
    if images.dtype != torch.uint8:
        raise ValueError(f"images must be uint8, not {images.dtype}")
    return images.to(torch.float32).div_(127.5).sub_(1)


def prepare(
    images: Tensor, image_size: tuple[int, int], aspect_ratios: Tensor | None = None
) -> Tensor:
    """Crop, resize and normalise images for evaluation, without randomness.

    `images` (B, 3, H, W) uint8. Stored at the model's `image_size` they are used whole; else a
    central box of 7/8 of the shorter side is resized to it. `aspect_ratios` (B,), original width
    / height, tells of images stored squashed. Returns (B, 3, *image_size) float32 in [-1, 1].
    """
    return normalize(_central_crop(images, image_size, aspect_ratios))


def _central_crop(
    images: Tensor, image_size: tuple[int, int], aspect_ratios: Tensor | None
) -> Tensor:
    if images.shape[-2:] == tuple(image_size):
        return images
    target_ratio = image_size[1] / image_size[0]
    boxes = crops.central_boxes(_on_cpu(aspect_ratios, images), target_ratio)
    return crops.extract(images, boxes, image_size)


def _on_cpu(aspect_ratios: Tensor | None, images: Tensor) -> Tensor:
    """Return the original aspect ratios (B,), the stored images' own if none are known."""
    if aspect_ratios is None:
        return torch.full((len(images),), images.shape[-1] / images.shape[-2])
    return aspect_ratios.cpu()


class Augmenter:
    """Turns stored images and labels into what a training step takes.

    In this order: crop, flip, RandAugment, normalisation, erasing, then mixup or CutMix.
    """

    def __init__(
        self, options: AugmentOptions, image_size: tuple[int, int], num_classes: int
    ) -> None:
        """Take the model's `image_size` (H, W). Raises UsageError for options out of range."""
        _check(options, image_size)
        self.options = options
        self.image_size = (image_size[0], image_size[1])
        self.num_classes = num_classes

    def __call__(
        self,
        images: Tensor,
        labels: Tensor,
        generator: torch.Generator,
        aspect_ratios: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return augmented images (B, 3, *image_size) float32 in [-1, 1] and targets (B, K).

        `images` (B, 3, H, W) uint8 and `labels` (B,) int64 lie on one device, any; they are not
        changed. `generator`, on the CPU, is the only source of randomness. `aspect_ratios` (B,),
        best on the CPU, are the original width / height of images stored squashed.
        """
        options = self.options
        images = self._crop_and_flip(images, generator, aspect_ratios)
        if options.randaugment_operations:
            images = rand_augment(
                images, options.randaugment_operations, options.randaugment_magnitude, generator
            )
        pixels = normalize(images)
        if options.erase:
            pixels = random_erase(pixels, options.erase, generator)
        targets = one_hot(labels, self.num_classes)
        if options.mixup_alpha and _happens(options.mixup_probability, generator):
            return mixup(pixels, targets, options.mixup_alpha, generator)
        if options.cutmix_alpha and _happens(options.cutmix_probability, generator):
            return cutmix(pixels, targets, options.cutmix_alpha, generator)
        return pixels, targets

    def _crop_and_flip(
        self, images: Tensor, generator: torch.Generator, aspect_ratios: Tensor | None
    ) -> Tensor:
        """Return (B, 3, *image_size) uint8."""
        options, count = self.options, len(images)
        flips = crops.random_flips(count, options.flip, generator)
        crop = options.crop
        if crop == "auto":
            crop = "pad" if images.shape[-2:] == self.image_size else "inception"
        if crop == "inception":
            boxes = crops.inception_boxes(
                _on_cpu(aspect_ratios, images),
                generator,
                scale=options.crop_scale,
                target_ratio=self.image_size[1] / self.image_size[0],
            )
            mirrored = boxes[:, [2, 1, 0, 3]]
            boxes = torch.where(flips[:, None], mirrored, boxes)
            return crops.extract(images, boxes, self.image_size)
        images = _central_crop(images, self.image_size, aspect_ratios)
        pad = options.pad if crop == "pad" else 0
        return crops.shift(images, crops.random_offsets(count, pad, generator), flips)


def _happens(probability: float, generator: torch.Generator) -> bool:
    return bool(torch.rand((), generator=generator) < probability)


def _check(options: AugmentOptions, image_size: tuple[int, int]) -> None:
    for name in ("flip", "erase", "mixup_probability", "cutmix_probability"):
        value = getattr(options, name)
        if not 0 <= value <= 1:
            raise UsageError(f"{name} {value} is no probability: give a value from 0 to 1.")
    for name in ("randaugment_operations", "randaugment_magnitude", "mixup_alpha", "cutmix_alpha"):
        value = getattr(options, name)
        if value < 0:
            raise UsageError(f"{name} {value} is negative: give 0 to turn it off, or more.")
    smallest, largest = options.crop_scale
    if not 0 < smallest <= largest <= 1:
        raise UsageError(
            f"crop_scale {smallest} {largest} is no range of area shares: "
            "give two values above 0 and up to 1, the smaller first."
        )
    if options.crop in ("auto", "pad") and not 0 <= options.pad < min(image_size):
        raise UsageError(
            f"pad {options.pad} does not fit images of {image_size[0]} x {image_size[1]} pixels: "
            f"give 0 to {min(image_size) - 1}."
        )
