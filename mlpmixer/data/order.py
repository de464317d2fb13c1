"""In which order the images of a split are trained on, wherever they are kept."""

from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from mlpmixer.data.batches import training_order
from mlpmixer.data.dataset import Split
from mlpmixer.data.splits import Subset
from mlpmixer.data.stream_order import Blocks, stream_order


@runtime_checkable
class ReadInBlocks(Protocol):
    """A split whose images come in blocks, each of them read in one go."""

    blocks: Blocks

    def prepare(self, indices: Iterable[int]) -> None:
        """Have the blocks of some images at hand; MixerError where one stays away."""
        ...


def order_of(
    split: Split, batch_size: int, seed: int, first_step: int, repeats: int = 1
) -> Iterator[Tensor]:
    """Yield the indices (batch_size,) of every training batch of a split, without end.

    Those of a split that is read in blocks come in `stream_order`, wherever images are kept.

    With `repeats`, each image stands that many times in its batch, which it has to divide: repeated
    or "batch" augmentation (https://arxiv.org/abs/1901.09335, section 3). Copies are neighbours, so
    that mixup and CutMix, whose partners are a multiple of a power of two apart, seldom mix an
    image with itself; images before they come again are as many as without.
    """
    if repeats > 1:
        distinct = order_of(split, batch_size // repeats, seed, first_step)
        return (indices.repeat_interleave(repeats) for indices in distinct)
    blocks = blocks_in(split)
    if blocks is None:
        return training_order(len(split), batch_size, seed, first_step)
    return stream_order(blocks, len(split), batch_size, seed, first_step)


def prepare(split: Split, indices: Iterable[int]) -> None:
    """Have the blocks of some images at hand, where the split is read in blocks."""
    if isinstance(split, Subset):
        prepare(split.split, [int(split.indices[index]) for index in indices])
    elif isinstance(split, ReadInBlocks):
        split.prepare(indices)


def blocks_in(split: Split) -> Blocks | None:
    """Return the index of each block's first image, None where images are read one by one."""
    if isinstance(split, Subset):
        whole = blocks_in(split.split)
        if whole is None:
            return None
        block = whole.searchsorted(split.indices, side="right")
        starts: Blocks = np.flatnonzero(np.diff(block, prepend=-1))
        return starts
    return split.blocks if isinstance(split, ReadInBlocks) else None
