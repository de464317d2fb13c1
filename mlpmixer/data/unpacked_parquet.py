"""The images of parquet files, unpacked once into memory-mapped Arrow files."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock

from mlpmixer.data.cache import data_home, fingerprint
from mlpmixer.data.columns import image_bytes, image_paths, without_dictionary
from mlpmixer.data.label_sets import SplitLabels
from mlpmixer.data.label_types import joined_labels
from mlpmixer.data.parquet_files import opened, read_paths
from mlpmixer.data.splits import file_size
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.files import replacing
from mlpmixer.formatting import printable

_FORM = "image and path"  # columns of the Arrow files
_BATCH = 256  # images that are in memory at once while a file is unpacked

logger = logging.getLogger(__name__)


class ParquetSplit:
    """The images of some parquet files, read from their unpacked, memory-mapped Arrow files.

    Only paths and labels are pickled: another process maps the files again.
    """

    def __init__(self, files: Sequence[Path], column: str, known: SplitLabels) -> None:
        """Hold the images in a `column` of `files`, with their labels; unpack if needed.

        Raises MixerError where a file is damaged or the Arrow files cannot be written.
        """
        self.files = tuple(files)
        self.unpacked = tuple(_unpacked(files, column))
        self._column = column
        self._labels = known.labels
        self.label_sets = known.sets
        self._map()

    def _map(self) -> None:
        tables = [pa.ipc.open_file(pa.memory_map(str(path))).read_all() for path in self.unpacked]
        self._starts = np.cumsum([0, *map(len, tables)])
        table = pa.concat_tables(tables)
        self._images, self._paths = table["image"], table["path"]

    def __getstate__(self) -> dict[str, object]:
        """Leave the mapped memory out."""
        kept = ("files", "unpacked", "_column", "_labels", "label_sets")
        return {name: getattr(self, name) for name in kept}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Map the files again."""
        self.__dict__.update(state)
        self._map()

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class indices, (N,)."""
        return self._labels

    def __len__(self) -> int:
        """Return the number of images, N."""
        return len(self._labels)

    def encoded(self, index: int) -> bytes:
        """Return the bytes of an image, from the row or the file that it names; b"" without both.

        Raises OSError where there is no such file beside the parquet file.
        """
        value: bytes | None = self._images[index].as_py()
        if value is not None:
            return value
        path = self._path(index)
        return b"" if path is None else path.read_bytes()

    def name(self, index: int) -> str:
        """Return the parquet file and the row of an image."""
        number = self._file(index)
        return printable(f"{self.files[number]} row {index - int(self._starts[number])}")

    def sizes(self) -> npt.NDArray[np.int64]:
        """Return the bytes of each image, (N,), 0 where there is none."""
        sizes = pc.binary_length(self._images).fill_null(0).to_numpy().astype(np.int64)
        for index in self._in_files():
            path = self._path(int(index))
            if path is not None:
                sizes[index] = file_size(path)
        return sizes

    def stored_paths(self) -> list[str | None]:
        """Return the path that each image once had, (N,); None where the table has none."""
        return [path for file in self.files for path in read_paths(file, self._column)]

    def check_files(self) -> None:
        """Look whether the first image that is not in a row lies beside the parquet file.

        Raises UsageError where it does not and no row holds the bytes of an image.
        """
        in_files = self._in_files()
        if not len(self) or len(in_files) < len(self):
            return
        path = self._path(0)
        if path is None:
            raise UsageError(f"{self.name(0)} and all others hold neither an image nor a path.")
        if not path.is_file():
            raise UsageError(
                f"{self.files[0]} holds paths and no images, and there is no file {path}: put the "
                "images there, or write their bytes into the table."
            )

    def _in_files(self) -> npt.NDArray[np.int64]:
        """Return the indices of the images whose bytes are not in the table."""
        if not self._images.null_count:
            return np.array([], dtype=np.int64)
        return np.flatnonzero(self._images.is_null().to_numpy())

    def _path(self, index: int) -> Path | None:
        path: str | None = self._paths[index].as_py()
        return self.files[self._file(index)].parent / path if path else None

    def _file(self, index: int) -> int:
        return int(np.searchsorted(self._starts, index, side="right")) - 1


def read_labels(files: Sequence[Path], column: str) -> pa.ChunkedArray:
    """Return the label column (N,) of all `files`, in a type that holds them all.

    Raises UsageError where their types do not go together, MixerError where one is damaged.
    """
    parts: list[pa.ChunkedArray] = []
    for path in files:
        with opened(path) as file:
            parts.append(without_dictionary(file.read([column])[column]))
    return joined_labels(files, parts)


def _unpacked(files: Sequence[Path], column: str) -> list[Path]:
    """Return the Arrow file with the images of each parquet file; make those that are missing."""
    folder = data_home() / "parquet"
    targets = []
    for file in files:
        target = folder / f"{fingerprint([file], column, _FORM)}.arrow"
        targets.append(target)
        if target.exists():
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # One of several processes that start together unpacks, the others wait for it.
            with FileLock(f"{target}.lock"):
                if not target.exists():
                    logger.info("unpacking %s for random access into %s", file, target)
                    _unpack(file, column, target)
        except (pa.ArrowException, OSError) as error:
            raise MixerError(
                f"cannot unpack {file} into {folder}: {str(error).splitlines()[0]}. "
                "Check the file and the free space, or set MLPMIXER_DATA to another folder."
            ) from error
    return targets


def _unpack(file: Path, column: str, target: Path) -> None:
    """Write the images of `file` to `target`."""
    schema = pa.schema([("image", pa.binary()), ("path", pa.string())])
    with (
        replacing(target) as part,
        pq.ParquetFile(file) as source,
        pa.ipc.new_file(str(part), schema) as sink,
    ):
        for batch in source.iter_batches(batch_size=_BATCH, columns=[column]):
            images = image_bytes(batch.column(0))
            # The hub also keeps the path that an image once had: only those in use are needed.
            paths = pc.if_else(images.is_null(), image_paths(batch.column(0)), None)
            sink.write_batch(pa.record_batch([images, paths], schema=schema))
