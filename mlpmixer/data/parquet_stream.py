"""The images of parquet files, here or on a server, read by row groups and never unpacked whole."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mlpmixer.data.block_cache import LIMIT, BlockCache
from mlpmixer.data.columns import image_bytes
from mlpmixer.data.label_sets import SplitLabels
from mlpmixer.data.parquet_files import opened, read_paths
from mlpmixer.data.parquet_index import ParquetIndex
from mlpmixer.data.remote import RemotePath
from mlpmixer.data.stream_order import BLOCK, LANES, Blocks, ShuffleWindow
from mlpmixer.errors import MixerError
from mlpmixer.formatting import printable

_ROWS = 64  # images of a row group that are in memory at once
_WIDEST = 4096  # images of a lane that are shuffled among each other
_HELD = 4  # row groups a lane for which there is room on the disk: one is read, others make room
_ATTEMPTS = 3


class RowGroup(NamedTuple):
    """The images of one row group, one after another."""

    file: Path | RemotePath
    mark: str
    """Changes with the file's content."""
    column: str
    number: int
    size: int
    """Bytes of all images."""

    @property
    def key(self) -> str:
        """Where it comes from; changes with the file's content."""
        return f"{self.file}\0{self.mark}\0{self.column}\0row group {self.number}"

    @property
    def source(self) -> str:
        """The file, for messages."""
        return str(self.file)

    def write(self, target: Path) -> None:
        """Write the bytes of all images to `target`; a page of the column is in memory at a time.

        That may be all of the row group, by what has written it.

        Raises MixerError where the file cannot be read.
        """
        with target.open("wb") as out:
            for image in self._images():
                out.write(image)

    def _images(self) -> Iterator[pa.Buffer]:
        with opened(self.file) as file:
            for batch in file.iter_batches(_ROWS, row_groups=[self.number], columns=[self.column]):
                for image in image_bytes(batch.column(0)):
                    if image.is_valid:
                        yield image.as_buffer()


class ParquetStream:
    """The images of some parquet files; it holds no open file, so it can be pickled.

    A row group can only be read as a whole. Its images are kept on the disk while they are wanted,
    in a cache of bounded size.
    """

    def __init__(
        self,
        files: Sequence[Path] | Sequence[RemotePath],
        column: str,
        index: ParquetIndex,
        known: SplitLabels,
    ) -> None:
        """Hold the images in a `column` of `files`, as the index finds them, with their labels."""
        self.files: tuple[Path | RemotePath, ...] = tuple(files)
        self.label_sets = known.sets
        self.blocks: Blocks = index.starts
        self.cache = BlockCache()
        self._column = column
        self._labels = known.labels
        self._sizes = index.sizes
        self._ends = index.sizes.cumsum()  # of the bytes of each image in those of all, (N,)
        self._places = np.stack([index.files, index.groups])  # of each block, (2, G)
        self._marks = index.marks
        self.spread = spread(index.sizes, index.starts)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class indices, (N,)."""
        return self._labels

    def __len__(self) -> int:
        """Return the number of images, N."""
        return len(self._labels)

    def sizes(self) -> npt.NDArray[np.int64]:
        """Return the bytes of each image, (N,), 0 where there is none."""
        return self._sizes

    def encoded(self, index: int) -> bytes:
        """Return the bytes of an image; b"" where there is none.

        Raises MixerError where its row group cannot be read or kept.
        """
        number = self._number(index)
        first = int(self.blocks[number])
        start = int(self._ends[first] - self._sizes[first])
        end = int(self._ends[index]) - start
        block = self._block(number)
        for _ in range(_ATTEMPTS):
            found = self.cache.read(block, end - int(self._sizes[index]), end)
            if found is not None:
                return found
            self.cache.ensure([block])
        raise MixerError(
            f"row group {block.number} of {block.file} was dropped from {self.cache.folder} before "
            "it was used: other trainings need its room. Set MLPMIXER_DATA to another folder."
        )

    def name(self, index: int) -> str:
        """Return the parquet file and the row of an image."""
        file = int(self._places[0, self._number(index)])
        begin = int(self.blocks[self._places[0].searchsorted(file)])
        return printable(f"{self.files[file]} row {index - begin}")

    def stored_paths(self) -> list[str | None]:
        """Return the path that each image once had, (N,); None where the table has none."""
        return [path for file in self.files for path in read_paths(file, self._column)]

    def prepare(self, indices: Iterable[int]) -> None:
        """Bring the row groups of some images onto the disk; MixerError where one stays away."""
        numbers = dict.fromkeys(map(self._number, indices))
        self.cache.ensure(map(self._block, numbers))

    def _number(self, index: int) -> int:
        return int(self.blocks.searchsorted(index, side="right")) - 1

    def _block(self, number: int) -> RowGroup:
        file, group = self._places[:, number].tolist()
        last = int(self.blocks[number + 1]) if number + 1 < len(self.blocks) else len(self)
        size = int(self._sizes[int(self.blocks[number]) : last].sum())
        return RowGroup(self.files[file], self._marks[file], self._column, group, size)


def spread(sizes: npt.NDArray[np.int64], starts: Blocks) -> ShuffleWindow:
    """Return how widely row groups are mixed, of images of some `sizes` (N,).

    As many lanes as the disk has room for the row groups of, and as many images of a lane as a row
    group has. It follows from the data alone, so that the order is the same on any machine.
    """
    mean = sizes.sum() / max(1, len(starts))
    lanes = next((lanes for lanes in LANES if _HELD * lanes * mean <= LIMIT), 1)
    rows = len(sizes) // max(1, len(starts))
    return ShuffleWindow(lanes, min(max(BLOCK, rows), _WIDEST))
