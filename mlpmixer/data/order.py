"""In which order the images of a split are trained on, wherever they are kept."""

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from mlpmixer.data.balance import EvenClasses, balanced_order
from mlpmixer.data.batches import candidates, training_order
from mlpmixer.data.blocks import blocks_in, prepare, spread_of
from mlpmixer.data.dataset import Split
from mlpmixer.data.stream_order import stream_order

_SAMPLED = 4  # blocks that a sample is taken from


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
