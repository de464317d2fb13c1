"""The order of images that are read block by block: shuffled within bounds, known at every step.

A block is a run of images that lie side by side in one file, and is read in one go. An epoch is a
random order of all blocks, cut into lanes of equal length, to the image. Position i of the epoch
comes from lane i mod L; within a lane, each run of a window's images is shuffled. So an image mixes
with those of L blocks from all over the data, and no more than about L blocks are open at a time.

All of it follows from the seed, the epoch and the position: nothing has to be replayed to go on in
the middle of an epoch, and the number of workers and ranks does not matter.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mlpmixer.data.batches import steps_per_epoch
from mlpmixer.randomness import derived_seed

BLOCK = 32
"""Images of a whole block."""
LANES = (192, 96, 48, 24, 12, 4, 1)
"""How many lanes there may be; as many as there are whole blocks for."""


@dataclass(frozen=True)
class ShuffleWindow:
    """How widely an epoch mixes its blocks."""

    lanes: int = LANES[0]
    """There are no more than so many."""
    window: int = BLOCK
    """Images of a lane that are shuffled among each other."""


Blocks = npt.NDArray[np.int64]
"""The index of each block's first image, rising from 0, (M,)."""


def blocks_of(files: npt.NDArray[np.int32]) -> Blocks:
    """Return the blocks of images that lie, in this order, in `files` (N,): one never spans two."""
    starts = np.flatnonzero(np.diff(files, prepend=-1))
    ends = np.append(starts[1:], len(files))
    runs = [np.arange(start, end, BLOCK) for start, end in zip(starts, ends, strict=True)]
    return np.concatenate(runs) if runs else np.zeros(0, dtype=np.int64)


def stream_order(
    blocks: Blocks,
    images: int,
    batch_size: int,
    seed: int,
    first_step: int,
    spread: ShuffleWindow = ShuffleWindow(),
) -> Iterator[Tensor]:
    """Yield the indices (batch_size,) of every batch from `first_step` on, without end.

    In an epoch every image comes once, but for those of the last batch if it is incomplete.
    """
    per_epoch = steps_per_epoch(images, batch_size)
    epoch, step = divmod(first_step, per_epoch)
    while True:
        order = _Epoch(blocks, images, seed, epoch, spread)
        begin, end = step * batch_size, per_epoch * batch_size
        for slab in range(begin // order.slab, -(-end // order.slab)):
            part = order.positions(slab)
            if slab * order.slab <= begin:
                waiting = part[begin - slab * order.slab :]
            else:
                waiting = torch.cat([waiting, part])
            waiting = waiting[: end - begin]
            while len(waiting) >= batch_size:
                yield waiting[:batch_size]
                waiting, begin = waiting[batch_size:], begin + batch_size
        epoch, step = epoch + 1, 0


def epoch_order(
    blocks: Blocks, images: int, seed: int, spread: ShuffleWindow = ShuffleWindow()
) -> npt.NDArray[np.int64]:
    """Return all images once, (N,), in such an order."""
    order = _Epoch(blocks, images, seed, 0, spread)
    slabs = [order.positions(slab).numpy() for slab in range(-(-images // order.slab))]
    return np.concatenate(slabs)


class _Epoch:
    """The order of one epoch, worked out a slab of one window in every lane at a time."""

    def __init__(
        self, blocks: Blocks, images: int, seed: int, epoch: int, spread: ShuffleWindow
    ) -> None:
        chance = np.random.default_rng(derived_seed(seed, "blocks", epoch))
        order = chance.permutation(len(blocks))
        sizes = np.diff(np.append(blocks, images))[order]
        self._ends = np.cumsum(sizes)  # of each block in the row of all images, (M,)
        self._shift = blocks[order] - (self._ends - sizes)  # from a place in the row to an index
        self._key = (seed, epoch)
        most = min(images // BLOCK, spread.lanes)
        self.lanes = next((lanes for lanes in LANES if lanes <= most), 1)
        self.window = spread.window
        self.slab = self.lanes * self.window
        """Positions in a slab."""
        short, longer = divmod(images, self.lanes)
        lane = np.arange(self.lanes)
        self._starts = lane * short + np.minimum(lane, longer)  # in the row, (L,)
        self._lengths = short + (lane < longer)  # (L,)

    def positions(self, slab: int) -> Tensor:
        """Return the images at the positions of a slab; the last one of an epoch has fewer."""
        seed, epoch = self._key
        chance = np.random.default_rng(derived_seed(seed, "slab", epoch, slab))
        places = slab * self.window + np.arange(self.window)  # in a lane
        there = places < self._lengths[:, None]  # (L, W)
        draws = chance.random((self.lanes, self.window))
        keys = np.where(there, draws, 2.0)  # those missing go last
        shuffled = slab * self.window + keys.argsort(axis=1, kind="stable")
        row = (self._starts[:, None] + shuffled).T[there.T]  # lane by lane of each place
        return torch.from_numpy(row + self._shift[self._ends.searchsorted(row, side="right")])
