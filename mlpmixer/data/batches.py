"""What batches of stored images are, and the order in which they come."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from mlpmixer.errors import MixerError, UsageError
from mlpmixer.randomness import generator


class Batch(NamedTuple):
    """Images as they are stored, before augmentation."""

    images: Tensor  # uint8 (B, 3, h, w)
    labels: Tensor  # int64 (B,)
    indices: Tensor  # int64 (B,), positions in the split
    aspect_ratios: Tensor | None  # (B,) width/height where images were squashed to one shape


@dataclass
class Unreadable:
    """The images of a split that could not be read, and how many are too many."""

    total: int
    max_share: float
    reasons: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, reason: str) -> None:
        """Remember an unreadable image; raises MixerError once there are too many."""
        self.reasons[name] = reason
        if len(self.reasons) > self.max_share * self.total:
            raise MixerError(
                f"{len(self.reasons)} of {self.total} images are unreadable, over the "
                f"{self.max_share:.1%} allowed; the last: {name} ({reason}). "
                "Repair or remove them (`mixer data SOURCE --verify` lists all), "
                "or raise --max-unreadable."
            )


class Images(Protocol):
    """The images of a split as batches."""

    unreadable: Unreadable
    size: tuple[int, int]  # stored height and width
    in_memory: bool

    def __len__(self) -> int: ...

    def to(self, device: torch.device) -> None:
        """Keep what is in memory on the device."""
        ...

    def digest(self) -> str | None:
        """Return a key of the pixels and labels; None where they were not read yet."""
        ...

    def training_batches(self, batch_size: int, seed: int, first_step: int) -> Iterator[Batch]:
        """Yield endless batches, shuffled anew each epoch; incomplete ones are left out."""
        ...

    def evaluation_batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield all readable images once, in order."""
        ...


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Return the number of whole batches; UsageError if there is not even one."""
    if batch_size > images:
        raise UsageError(
            f"batch size {batch_size} is larger than the {images} training images. "
            f"Use --batch-size {max(1, images // 8)} or less."
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
