"""What happens on the device to a batch of cropped 8-bit images before the model."""

import torch
from torch import Tensor

from mlpmixer.data.mixing import cutmix, mixup, one_hot, random_erase
from mlpmixer.data.options import AugmentOptions
from mlpmixer.data.randaugment import rand_augment
from mlpmixer.errors import UsageError
from mlpmixer.ranks import ALONE, Ranks
from mlpmixer.values import check_ranges


def normalize(images: Tensor) -> Tensor:
    """Map uint8 images, any shape, from 0 … 255 to float32 in [-1, 1].

    Raises ValueError for another type, whose range could be anything.
    """
    if images.dtype != torch.uint8:
        raise ValueError(f"images must be uint8, not {images.dtype}")
    return images.to(torch.float32).div_(127.5).sub_(1)


def changes_nothing(options: AugmentOptions) -> bool:
    """Tell whether every image is shown as it is, each time; the crop is settled."""
    still = options.crop == "none" or (options.crop == "pad" and options.pad == 0)
    mixed = (options.mixup_share, options.cutmix_share)
    return still and not any((options.flip, options.randaugment_operations, options.erase, *mixed))


class Augmenter:
    """Turns cropped images and labels into what a training step takes.

    In this order: RandAugment, normalisation, erasing, then mixup or CutMix, of which a batch gets
    one at most.
    """

    def __init__(self, options: AugmentOptions, num_classes: int) -> None:
        """Take the number of logits.

        Raises UsageError for options out of range, or where mixup leaves no batch to CutMix.
        """
        check_ranges(options)
        if options.cutmix_alpha and options.cutmix_probability and not options.cutmix_share:
            raise UsageError(
                f"--mixup-probability {options.mixup_share:g} leaves no batch to CutMix: leave it "
                "out and each is applied to half of the batches, or use --cutmix-alpha 0."
            )
        self.options = options
        self.num_classes = num_classes

    def __call__(
        self, images: Tensor, labels: Tensor, generator: torch.Generator, ranks: Ranks = ALONE
    ) -> tuple[Tensor, Tensor]:
        """Return augmented images (B, 3, H, W) float32 in [-1, 1] and targets (B, K).

        Of several ranks each gives its own images of a batch, `ranks.own`, and gets back what one
        process gets at their positions.

        `images` (B, 3, H, W) uint8 and `labels` int64, (B,) or (B, L), lie on one device, any; they
        are not changed. `generator`, on the CPU, is the only source of randomness.
        """
        options = self.options
        if options.randaugment_operations:
            operations, magnitude = options.randaugment_operations, options.randaugment_magnitude
            images = rand_augment(images, operations, magnitude, generator, ranks)
        pixels = normalize(images)
        if options.erase:
            pixels = random_erase(pixels, options.erase, generator, ranks)
        targets = one_hot(labels, self.num_classes)
        if options.mixup_alpha and _happens(options.mixup_share, generator):
            return mixup(pixels, targets, options.mixup_alpha, generator, ranks)
        if options.cutmix_alpha and _happens(options.cutmix_probability, generator):
            return cutmix(pixels, targets, options.cutmix_alpha, generator, ranks)
        return pixels, targets


def _happens(probability: float, generator: torch.Generator) -> bool:
    return bool(torch.rand((), generator=generator) < probability)
