"""The images of parquet files, unpacked once into memory-mapped Arrow files."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from mlpmixer.data.cache import data_home, fingerprint
from mlpmixer.data.columns import image_bytes
from mlpmixer.errors import MixerError
from mlpmixer.files import replacing

_BATCH = 256  # images that are in memory at once while a file is unpacked

logger = logging.getLogger(__name__)


class ParquetSplit:
    """The images of some parquet files, read from their unpacked, memory-mapped Arrow files.

    Only paths and labels are pickled: another process maps the files again.
    """

    def __init__(self, files: Sequence[Path], column: str, labels: npt.NDArray[np.int64]) -> None:
        """Hold the images in a `column` of `files`, with their `labels` (N,); unpack if needed.

        Raises MixerError where a file is damaged or the Arrow files cannot be written.
        """
        self.files = tuple(files)
        self.unpacked = tuple(_unpacked(files, column))
        self._labels = labels
        self._map()

    def _map(self) -> None:
        columns = [
            pa.ipc.open_file(pa.memory_map(str(path))).read_all()["image"] for path in self.unpacked
        ]
        chunks = [chunk for column in columns for chunk in column.chunks]
        self._starts = np.cumsum([0, *(len(column) for column in columns)])
        self._images = pa.chunked_array(chunks, pa.binary())

    def __getstate__(self) -> dict[str, object]:
        """Leave the mapped memory out."""
        return {"files": self.files, "unpacked": self.unpacked, "_labels": self._labels}

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
        """Return the bytes of an image; none where the row holds null."""
        value: bytes | None = self._images[index].as_py()
        return value or b""

    def name(self, index: int) -> str:
        """Return the parquet file and the row of an image."""
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        return f"{self.files[number]} row {index - int(self._starts[number])}"


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise MixerError(f"cannot read {path} as parquet: {str(error).splitlines()[0]}") from error


def read_schema(path: Path) -> pa.Schema:
    """Return the columns of a parquet file. Raises MixerError where it cannot be read."""
    with _readable(path):
        return pq.read_schema(path)


def read_labels(files: Sequence[Path], column: str) -> pa.ChunkedArray:
    """Return the label column (N,) of all `files`, in the type that the first one has."""
    parts: list[pa.ChunkedArray] = []
    for path in files:
        with _readable(path):
            part = pq.read_table(path, columns=[column])[column]
            parts.append(part.cast(parts[0].type) if parts else part)
    return pa.chunked_array([chunk for part in parts for chunk in part.chunks], parts[0].type)


def _unpacked(files: Sequence[Path], column: str) -> list[Path]:
    """Return the Arrow file with the images of each parquet file; make those that are missing."""
    folder = data_home() / "parquet"
    targets = []
    for file in files:
        target = folder / f"{fingerprint([file])}-{column}.arrow"
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
    schema = pa.schema([("image", pa.binary())])
    with (
        replacing(target) as part,
        pq.ParquetFile(file) as source,
        pa.ipc.new_file(str(part), schema) as sink,
    ):
        for batch in source.iter_batches(batch_size=_BATCH, columns=[column]):
            images = image_bytes(batch.column(0)).cast(pa.binary())
            sink.write_batch(pa.record_batch([images], schema=schema))
