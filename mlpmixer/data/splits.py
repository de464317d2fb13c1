"""The simplest ways to hold a split: files on disk, pixels in memory, a part of another split."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mlpmixer.data.blocks import blocks_in, prepare, spread_of
from mlpmixer.data.dataset import Split
from mlpmixer.data.label_sets import LabelSets, label_sets_of
from mlpmixer.data.stream_order import Blocks, ShuffleWindow
from mlpmixer.formatting import printable


class FileSplit:
    """Image files below one folder.

    The paths are kept as one array of bytes: a list of a million strings would be copied page by
    page into every forked worker as reference counts change.
    """

    def __init__(
        self, root: Path, relative: Sequence[str], labels: Sequence[int] | npt.NDArray[np.int64]
    ) -> None:
        """Hold the files `relative` to `root`, with one label each."""
        self.root = root
        self._relative = np.array([os.fsencode(path) for path in relative], dtype=np.bytes_)
        self._labels = np.asarray(labels, dtype=np.int64)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class indices, (N,)."""
        return self._labels

    def __len__(self) -> int:
        """Return the number of images, N."""
        return len(self._labels)

    def path(self, index: int) -> Path:
        """Return where an image lies."""
        return Path(self._path(index))

    def _path(self, index: int) -> str:
        return os.path.join(self.root, os.fsdecode(self._relative[index]))

    def sizes(self) -> npt.NDArray[np.int64]:
        """Return the bytes of each image file, (N,), 0 where it is missing."""
        paths = (self.path(index) for index in range(len(self)))
        return np.fromiter(map(file_size, paths), np.int64, len(self))

    def encoded(self, index: int) -> bytes:
        """Return the bytes of an image file."""
        # A Path would take as long to make as the file to read.
        with open(self._path(index), "rb", buffering=0) as file:
            return file.read()

    def name(self, index: int) -> str:
        """Return the path of an image, in a form that can be printed."""
        return printable(self._path(index))


def file_size(path: Path) -> int:
    """Return the bytes of a file, 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


class ArraySplit:
    """Images of one size, decoded, in memory."""

    def __init__(
        self,
        images: npt.NDArray[np.uint8],
        labels: Sequence[int] | npt.NDArray[np.int64],
        title: str,
    ) -> None:
        """Hold `images` (N, H, W, 3) of 0 to 255; `title` starts their names."""
        self.images = images
        self._labels = np.asarray(labels, dtype=np.int64)
        self.title = title

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class indices, (N,)."""
        return self._labels

    def __len__(self) -> int:
        """Return the number of images, N."""
        return len(self._labels)

    def sizes(self) -> npt.NDArray[np.int64]:
        """Return the bytes of each image, (N,): all alike."""
        return np.full(len(self), self.images[0].nbytes if len(self) else 0, dtype=np.int64)

    def encoded(self, index: int) -> npt.NDArray[np.uint8]:
        """Return the pixels of an image, (H, W, 3)."""
        image: npt.NDArray[np.uint8] = self.images[index]
        return image

    def name(self, index: int) -> str:
        """Return the title with the number of the image."""
        return f"{self.title} image {index}"


class Subset:
    """The images of a split at the given indices, in that order."""

    def __init__(self, split: Split, indices: Sequence[int] | npt.NDArray[np.int64]) -> None:
        self.split = split
        self.indices = np.asarray(indices, dtype=np.int64)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class indices, (N,)."""
        return self.split.labels[self.indices]

    @property
    def label_sets(self) -> LabelSets | None:
        """All classes of each image; None where each has one alone."""
        sets = label_sets_of(self.split)
        return None if sets is None else sets.take(self.indices)

    @property
    def blocks(self) -> Blocks | None:
        """The index of the first image of each block, or part of one; None without blocks."""
        whole = blocks_in(self.split)
        if whole is None:
            return None
        block = whole.searchsorted(self.indices, side="right")
        starts: Blocks = np.flatnonzero(np.diff(block, prepend=-1))
        return starts

    @property
    def spread(self) -> ShuffleWindow:
        """How widely the blocks are mixed."""
        return spread_of(self.split)

    def prepare(self, indices: Iterable[int]) -> None:
        """Have the blocks of some images at hand."""
        prepare(self.split, [int(self.indices[index]) for index in indices])

    def __len__(self) -> int:
        """Return the number of images, N."""
        return len(self.indices)

    def sizes(self) -> npt.NDArray[np.int64]:
        """Return the bytes of each image, (N,)."""
        return self.split.sizes()[self.indices]

    def encoded(self, index: int) -> bytes | npt.NDArray[np.uint8]:
        """Return the image's bytes or pixels as the underlying split holds them."""
        return self.split.encoded(int(self.indices[index]))

    def name(self, index: int) -> str:
        """Return the image's name in the underlying split."""
        return self.split.name(int(self.indices[index]))
