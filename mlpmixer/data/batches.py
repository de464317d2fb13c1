"""What batches of stored images are, and the order in which they come."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mlpmixer.data.dataset import Split
from mlpmixer.data.label_sets import label_sets_of
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.randomness import generator
from mlpmixer.ranks import ALONE, Ranks

_ATTEMPTS = 1000


class Batch(NamedTuple):
    """Images cropped to the model's size, before augmentation or normalisation."""

    images: Tensor  # uint8 (B, 3, H, W)
    labels: Tensor  # int64 (B,); of multi-label data (B, L): filled up with the first of each image
    indices: Tensor  # int64 (B,), positions in the split, on the CPU


class BatchLabels:
    """The labels of a split, as its batches have them."""

    def __init__(self, split: Split) -> None:
        self.labels = torch.tensor(split.labels, dtype=torch.int64)
        """(N,), the first or only one of each image."""
        self.sets = label_sets_of(split)

    def to(self, device: torch.device) -> None:
        """Keep labels of one class an image on the device."""
        self.labels = self.labels.to(device)

    def of(self, indices: Tensor) -> Tensor:
        """Return the labels of the images at `indices` (B,), which lie on the CPU: (B,) or (B, L).

        L is the largest number of classes that one of them has.
        """
        if self.sets is None:
            return self.labels[indices.to(self.labels.device)]
        return torch.from_numpy(self.sets.padded(indices.numpy()))

    def parts(self) -> list[Tensor]:
        """Return all that the labels follow from."""
        sets = [] if self.sets is None else [self.sets.classes, self.sets.ends]
        return [self.labels, *map(torch.from_numpy, sets)]


@dataclass
class UnreadableImages:
    """The images of a split that could not be read, and how many are too many."""

    total: int
    max_share: float
    reasons: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, reason: str) -> None:
        """Remember an unreadable image, once; raises MixerError when there are too many."""
        self.reasons[name] = reason
        if len(self.reasons) > self.max_share * self.total:
            raise MixerError(
                f"{len(self.reasons)} of {self.total} images are unreadable, over the "
                f"{self.max_share:.1%} allowed; the last: {name} ({reason}). "
                "Repair or remove them (`mixer data SOURCE --verify` lists all), "
                "or raise --max-unreadable."
            )


class ImagesInOrder(Protocol):
    """Images that can be gone through once."""

    def __len__(self) -> int:
        """Return the number of images, unreadable ones included."""
        ...

    def evaluation_batches(self, batch_size: int, ranks: Ranks = ALONE) -> Iterator[Batch]:
        """Yield all images in order, those that cannot be read left out.

        Of several ranks each gets its own batches of those, `ranks.own`.
        """
        ...


class Images(ImagesInOrder, Protocol):
    """The images of a split as batches."""

    unreadable: UnreadableImages
    in_memory: bool

    @property
    def bytes_for_device(self) -> int:
        """What the images take on a device, in bytes; 0 where they cannot be kept there."""
        ...

    def to(self, device: torch.device) -> None:
        """Keep the images on the device."""
        ...

    def pin(self) -> None:
        """Deliver batches in pinned memory, from where they are copied in the background."""
        ...

    def digest(self) -> str | None:
        """Return a key of the pixels and labels; None where they were not read yet."""
        ...

    def training_batches(
        self, batch_size: int, seed: int, first_step: int, ranks: Ranks = ALONE
    ) -> Iterator[Batch]:
        """Yield endless batches, shuffled anew each epoch; incomplete ones are left out.

        In place of an image that cannot be read another one is drawn. Of several ranks each gets
        its own positions of every batch, `ranks.own`.
        """
        ...


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Return the number of whole batches; UsageError if there is not even one."""
    if batch_size > images:
        raise UsageError(
            f"batch size {batch_size} is larger than the {images} training images. "
            f"Use --batch-size {images} or less."
        )
    return images // batch_size


def training_order(images: int, batch_size: int, seed: int, first_step: int) -> Iterator[Tensor]:
    """Yield the indices (batch_size,) of every batch from `first_step` on, without end."""
    per_epoch = steps_per_epoch(images, batch_size)
    epoch, step = divmod(first_step, per_epoch)
    while True:
        order = torch.randperm(images, generator=generator(seed, "order", epoch))
        for begin in range(step * batch_size, per_epoch * batch_size, batch_size):
            yield order[begin : begin + batch_size]
        epoch, step = epoch + 1, 0


def candidates(
    images: int,
    seed: int,
    step: int,
    position: int,
    among: npt.NDArray[np.int64] | None = None,
) -> Iterator[int]:
    """Yield the indices of images to try in place of one that cannot be read.

    They follow from the seed, the step and the position in the batch, wherever images are read.
    They are drawn from all `images`, or from those `among` them that are given.

    Raises:
        MixerError: a thousand others could not be read either.
    """
    chance = generator(seed, "instead", step, position)
    for _ in range(_ATTEMPTS):
        if among is None:
            yield int(torch.randint(images, (), generator=chance))
        else:
            yield int(among[int(torch.randint(len(among), (), generator=chance))])
    raise MixerError(
        f"{_ATTEMPTS:,} images drawn in place of an unreadable one are unreadable as well. "
        "`mixer data SOURCE --verify` lists all."
    )
