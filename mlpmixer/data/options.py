"""What can be chosen about data and augmentation. Light to import: the command line reads it."""

from dataclasses import dataclass
from typing import Annotated, Literal

from typing_extensions import Doc

from mlpmixer.data.sources import forms
from mlpmixer.values import (
    Copies,
    CountOrZero,
    Operations,
    Share,
    ShareNotOne,
    ShareNotZero,
    Strength,
    Workers,
)


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Where the images come from and how they reach the model."""

    data: Annotated[str, Doc(f"{forms()}. `mixer data` explains each.")] = "digits"
    """Where the images come from."""
    splits: Literal["own", "joined", "vtab800", "vtab1000"] = "own"
    """own: the source's; joined: learn from its validation images too; vtab800 and vtab1000:
    VTAB-1k's, with 200 images to choose hyperparameters by, and with all 1000 to learn from."""
    validation_fraction: ShareNotOne = 0.1
    """Share of the training images held out, stratified, where the source has no validation."""
    train_fraction: ShareNotZero = 1.0
    """Share of the training images to use, in (0, 1]; nested and balanced over the classes."""
    cache: Literal["auto", "memory", "none"] = "auto"
    """Decode once into memory as uint8, or decode on the fly; auto: memory if it fits."""
    workers: Workers = 2
    """Processes that decode images."""
    max_unreadable: Share = 0.01
    """Share of unreadable images above which to stop."""
    sixteen_bit: Literal["auto", "full", "range"] = "auto"
    """How 16 bits a value become 8: full: evenly; range: from each picture's smallest value to its
    largest; auto: as the checkpoint that is started from, else full."""


@dataclass(frozen=True, kw_only=True)
class AugmentOptions:
    """Random changes of the training images; probabilities are in [0, 1]."""

    crop: Literal["auto", "pad", "inception", "none"] = "auto"
    """pad: shift by up to --pad pixels; inception: random area and aspect ratio;
    auto: pad where the images already have the model's size, else inception."""
    pad: CountOrZero = 4
    """Largest shift of crop=pad, in pixels; borders are mirrored."""
    crop_scale: tuple[ShareNotZero, ShareNotZero] = (0.08, 1.0)
    """Smallest and largest share of the image's area that crop=inception keeps."""
    flip: Share = 0.5
    """Probability of a horizontal flip. 0 for digits, text and signs."""
    randaugment_operations: Operations = 0
    """RandAugment operations applied to each image; 0 turns it off."""
    randaugment_magnitude: Strength = 15.0
    """Strength of RandAugment, on the scale where 10 is each operation's usual range."""
    mixup_alpha: Strength = 0.0
    """Beta distribution parameter of mixup; 0 turns it off."""
    mixup_probability: Share | None = None
    """Share of batches that mixup is applied to; by default all, beside CutMix half of them."""
    cutmix_alpha: Strength = 0.0
    """Beta distribution parameter of CutMix; 0 turns it off."""
    cutmix_probability: Share = 1.0
    """Share of the batches left by mixup that CutMix is applied to."""
    erase: Share = 0.0
    """Probability that a random rectangle of an image is replaced by noise."""
    repeats: Copies = 1
    """Times that each image is in its batch, augmented anew each time; must divide the batch."""

    @property
    def mixup_share(self) -> float:
        """The share of batches that mixup is applied to, in [0, 1]."""
        if not self.mixup_alpha:
            return 0.0
        if self.mixup_probability is not None:
            return self.mixup_probability
        return 0.5 if self.cutmix_alpha and self.cutmix_probability else 1.0

    @property
    def cutmix_share(self) -> float:
        """The share of all batches that CutMix is applied to, in [0, 1]."""
        return self.cutmix_probability * (1 - self.mixup_share) if self.cutmix_alpha else 0.0
