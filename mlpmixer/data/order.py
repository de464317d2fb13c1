"""In which order the images of a split are trained on, wherever they are kept."""

from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from mlpmixer.data.balance import EvenClasses, balanced_order
from mlpmixer.data.batches import candidates, training_order
from mlpmixer.data.dataset import Split
from mlpmixer.data.protocol_splits import Joined
from mlpmixer.data.splits import Subset
from mlpmixer.data.stream_order import Blocks, Spread, stream_order

_SAMPLED = 4  # blocks that a sample is taken from


@runtime_checkable
class Prepares(Protocol):
    """A split that can be told which images will be wanted."""

    def prepare(self, indices: Iterable[int]) -> None:
        """Have some images at hand; MixerError where one stays away."""
        ...


@runtime_checkable
class ReadInBlocks(Prepares, Protocol):
    """A split whose images come in blocks, each of them read in one go."""

    blocks: Blocks
    spread: Spread


def order_of(
    split: Split, batch_size: int, seed: int, first_step: int, repeats: int = 1
) -> Iterator[Tensor]:
    """Yield the indices (batch_size,) of every training batch of a split, without end.

    Those of a split that is read in blocks come in `stream_order`, wherever images are kept, and
    those of `EvenClasses` in `balanced_order`.

    With `repeats`, each image stands that many times in its batch, which it has to divide: repeated
    or "batch" augmentation (https://arxiv.org/abs/1901.09335, section 3). Copies are neighbours, so
    that mixup and CutMix, whose partners are a multiple of a power of two apart, seldom mix an
    image with itself; images before they come again are as many as without.
    """
    if repeats > 1:
        distinct = order_of(split, batch_size // repeats, seed, first_step)
        return (indices.repeat_interleave(repeats) for indices in distinct)
    if isinstance(split, EvenClasses):
        return balanced_order(split.labels, batch_size, seed, first_step)
    blocks = blocks_in(split)
    if blocks is None:
        return training_order(len(split), batch_size, seed, first_step)
    return stream_order(blocks, len(split), batch_size, seed, first_step, spread_of(split))


def to_try(split: Split, index: int, seed: int, step: int, position: int) -> Iterator[int]:
    """Yield an image's index, then those to try in its place while none can be read.

    Where classes are drawn equally often these are of its class.

    Raises:
        MixerError: a thousand others could not be read either.
    """
    yield index
    among = None
    if isinstance(split, EvenClasses):
        labels = split.labels
        among = np.flatnonzero(labels == labels[index])
    yield from candidates(len(split), seed, step, position, among)


def prepare(split: Split, indices: Iterable[int]) -> None:
    """Have the blocks of some images at hand, where the split is read in blocks."""
    if isinstance(split, Subset):
        prepare(split.split, [int(split.indices[index]) for index in indices])
    elif isinstance(split, Joined):
        for part, within in split.by_part(indices):
            prepare(part, within)
    elif isinstance(split, Prepares):
        split.prepare(indices)


def sample_in_blocks(split: Split, count: int) -> list[int] | None:
    """Return about `count` images of a few blocks, which are then at hand.

    None where the split is not read in blocks: then any images are as near as others.
    """
    blocks = blocks_in(split)
    if blocks is None or not len(blocks):
        return None
    chosen = np.unique(np.linspace(0, len(blocks) - 1, _SAMPLED).astype(int))
    ends = np.append(blocks[1:], len(split))
    each = -(-count // len(chosen))
    found = [
        index
        for begin, end in zip(blocks[chosen].tolist(), ends[chosen].tolist(), strict=True)
        for index in range(begin, end, max(1, (end - begin) // each))[:each]
    ]
    prepare(split, found)
    return found


def spread_of(split: Split) -> Spread:
    """Return how widely the blocks of a split are mixed."""
    if isinstance(split, Subset):
        return spread_of(split.split)
    if isinstance(split, Joined):
        parts = [spread_of(part) for part in split.splits]
        return Spread(min(one.lanes for one in parts), max(one.window for one in parts))
    return split.spread if isinstance(split, ReadInBlocks) else Spread()


def blocks_in(split: Split) -> Blocks | None:
    """Return the index of each block's first image, None where images are read one by one."""
    if isinstance(split, Subset):
        whole = blocks_in(split.split)
        if whole is None:
            return None
        block = whole.searchsorted(split.indices, side="right")
        starts: Blocks = np.flatnonzero(np.diff(block, prepend=-1))
        return starts
    if isinstance(split, Joined):
        parts = [blocks_in(part) for part in split.splits]
        found = [part for part in parts if part is not None]
        if len(found) < len(parts):
            return None
        return np.concatenate([one + at for one, at in zip(found, split.starts, strict=False)])
    return split.blocks if isinstance(split, ReadInBlocks) else None
