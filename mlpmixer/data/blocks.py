"""What a split says of itself where its images are read in blocks.

Such a split has `blocks`, the index of each block's first image, `spread` and `prepare`; one that
is made of others asks these for theirs.
"""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from mlpmixer.data.dataset import Split
from mlpmixer.data.stream_order import Blocks, ShuffleWindow


@runtime_checkable
class Prepares(Protocol):
    """A split that can be told which images will be wanted."""

    def prepare(self, indices: Iterable[int]) -> None:
        """Have some images at hand; MixerError where one stays away."""
        ...


def prepare(split: Split, indices: Iterable[int]) -> None:
    """Have the blocks of some images at hand, where the split is read in blocks."""
    if isinstance(split, Prepares):
        split.prepare(indices)


def spread_of(split: Split) -> ShuffleWindow:
    """Return how widely the blocks of a split are mixed."""
    spread: ShuffleWindow = getattr(split, "spread", ShuffleWindow())
    return spread


def blocks_in(split: Split) -> Blocks | None:
    """Return the index of each block's first image, None where images are read one by one."""
    blocks: Blocks | None = getattr(split, "blocks", None)
    return blocks
