"""The images of tar shards that lie on a web server or in a bucket, read block by block."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlpmixer.data.block_cache import BlockCache
from mlpmixer.data.label_sets import LabelSets, SplitLabels
from mlpmixer.data.remote import RemotePath
from mlpmixer.data.stream_order import Blocks, ShuffleWindow, blocks_of
from mlpmixer.data.tar_index import ShardIndex, ShardSplit


class ByteRange(NamedTuple):
    """A range of bytes of a remote file."""

    file: RemotePath
    mark: str
    """Changes with the file's content."""
    begin: int
    end: int

    @property
    def key(self) -> str:
        """Where it comes from; changes with the file's content."""
        return f"{self.file}\0{self.mark}\0{self.begin}\0{self.end}"

    @property
    def source(self) -> str:
        """The file, for messages."""
        return str(self.file)

    @property
    def size(self) -> int:
        """Bytes of the content."""
        return self.end - self.begin

    def write(self, target: Path) -> None:
        """Write the bytes to `target`; MixerError where they cannot be fetched."""
        target.write_bytes(self.file.read(self.begin, self.end))


class RemoteShardSplit(ShardSplit):
    """The images of some remote tar files; it holds no connection, so it can be pickled."""

    def __init__(
        self,
        shards: Sequence[RemotePath],
        index: ShardIndex,
        labels: npt.NDArray[np.int64],
        label_sets: LabelSets | None = None,
    ) -> None:
        """Hold the images that `index` finds in `shards`, with their `labels` (N,) or sets of them.

        Raises UsageError or MixerError where a shard is missing, refused or out of reach.
        """
        super().__init__(shards, index, labels, label_sets)
        self._remote = tuple(shards)
        self.blocks: Blocks = blocks_of(index.shard)
        self.spread = ShuffleWindow()
        self.cache = BlockCache()
        self._marks = [shard.describe()[1] for shard in shards]

    def encoded(self, index: int) -> bytes:
        """Return the bytes of an image member; UsageError or MixerError where it stays away."""
        begin = int(self.index.offset[index])
        end = begin + int(self.index.size[index])
        block = self._block(self._number(index))
        found = self.cache.read(block, begin - block.begin, end - block.begin)
        return block.file.read(begin, end) if found is None else found

    def prepare(self, indices: Iterable[int]) -> None:
        """Bring the blocks of some images onto the disk; MixerError where one stays away."""
        numbers = dict.fromkeys(map(self._number, indices))
        self.cache.ensure(map(self._block, numbers))

    def _number(self, index: int) -> int:
        return int(self.blocks.searchsorted(index, side="right")) - 1

    def _block(self, number: int) -> ByteRange:
        first = int(self.blocks[number])
        last = int(self.blocks[number + 1]) if number + 1 < len(self.blocks) else len(self)
        offsets = self.index.offset[first:last]
        begin, end = int(offsets.min()), int((offsets + self.index.size[first:last]).max())
        shard = int(self.index.shard[first])
        return ByteRange(self._remote[shard], self._marks[shard], begin, end)


def shard_split(
    shards: Sequence[Path | RemotePath], index: ShardIndex, known: SplitLabels
) -> ShardSplit:
    """Return the images in local or in remote shards."""
    local = [shard for shard in shards if isinstance(shard, Path)]
    remote = [shard for shard in shards if isinstance(shard, RemotePath)]
    if remote:
        return RemoteShardSplit(remote, index, known.labels, known.sets)
    return ShardSplit(local, index, known.labels, known.sets)
