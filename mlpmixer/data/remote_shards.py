"""The images of tar shards that lie on a web server or in a bucket, read block by block."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mlpmixer.data.block_cache import Block, BlockCache
from mlpmixer.data.remote import RemotePath
from mlpmixer.data.stream_order import Blocks, blocks_of
from mlpmixer.data.tar_index import ShardIndex, ShardSplit


class RemoteShardSplit(ShardSplit):
    """The images of some remote tar files; it holds no connection, so it can be pickled."""

    def __init__(
        self, shards: Sequence[RemotePath], index: ShardIndex, labels: npt.NDArray[np.int64]
    ) -> None:
        """Hold the images that `index` finds in `shards`, with their `labels` (N,).

        Raises UsageError or MixerError where a shard is missing, refused or out of reach.
        """
        super().__init__(shards, index, labels)
        self._remote = tuple(shards)
        self.blocks: Blocks = blocks_of(index.shard)
        self.cache = BlockCache()
        self._marks = [shard.describe()[1] for shard in shards]

    def encoded(self, index: int) -> bytes:
        """Return the bytes of an image member; UsageError or MixerError where it stays away."""
        begin = int(self.index.offset[index])
        end = begin + int(self.index.size[index])
        return self.cache.read(self._block(self._number(index)), begin, end)

    def prepare(self, indices: Iterable[int]) -> None:
        """Bring the blocks of some images onto the disk; MixerError where one stays away."""
        numbers = dict.fromkeys(map(self._number, indices))
        self.cache.ensure(map(self._block, numbers))

    def _number(self, index: int) -> int:
        return int(self.blocks.searchsorted(index, side="right")) - 1

    def _block(self, number: int) -> Block:
        first = int(self.blocks[number])
        last = int(self.blocks[number + 1]) if number + 1 < len(self.blocks) else len(self)
        offsets = self.index.offset[first:last]
        begin, end = int(offsets.min()), int((offsets + self.index.size[first:last]).max())
        shard = int(self.index.shard[first])
        return Block(self._remote[shard], self._marks[shard], begin, end)


def shard_split(
    shards: Sequence[Path | RemotePath], index: ShardIndex, labels: npt.NDArray[np.int64]
) -> ShardSplit:
    """Return the images in local or in remote shards."""
    local = [shard for shard in shards if isinstance(shard, Path)]
    remote = [shard for shard in shards if isinstance(shard, RemotePath)]
    return RemoteShardSplit(remote, index, labels) if remote else ShardSplit(local, index, labels)
