"""Parquet files in the Hugging Face hub's form: images as bytes, class labels as integers."""

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
from mlpmixer.data.columns import Columns, class_labels, find_columns, image_bytes
from mlpmixer.data.dataset import Dataset, Split
from mlpmixer.data.split_names import ALIASES, group_by_split
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.files import replacing

_BATCH = 256  # images that are in memory at once while a file is unpacked

logger = logging.getLogger(__name__)


def parquet_files(folder: Path) -> list[Path]:
    """Return the parquet files of `folder`, its data/ folder or its folders named after splits."""
    places = [folder, folder / "data"]
    places += [path for path in folder.iterdir() if path.name.lower() in ALIASES]
    for place in places[:2]:
        if found := sorted(place.glob("[!.]*.parquet")):
            return found
    return sorted(path for place in places[2:] for path in place.glob("[!.]*.parquet"))


def open_parquet(files: Sequence[Path], spec: str) -> Dataset:
    """Return the images in parquet files; their names tell the split, else all are for training.

    A row group of parquet can only be read as a whole, far too slow for images in random order.
    The images are therefore unpacked once into Arrow files below `mlpmixer.data.cache.data_home`,
    which take about the same room; they are mapped into memory, so that all processes share one
    copy that the system can drop at any time, and are made anew when a parquet file changes.

    Raises UsageError where columns or labels are missing or contradict each other, MixerError
    where a file is damaged or the Arrow files cannot be written.
    """
    groups = group_by_split(files)
    first = next(iter(groups.values()))[0]
    columns = find_columns(_schema(first), str(first))
    labels = {}
    for split, paths in groups.items():
        for path in paths:
            missing = {columns.image, columns.label} - set(_schema(path).names)
            if missing:
                raise UsageError(
                    f"{path} has no column {missing.pop()!r}, which {first} has. "
                    "All files must have the same columns."
                )
        labels[split] = _read_labels(paths, columns.label)
    class_names, indices = class_labels(labels, columns.class_names, spec)
    splits: dict[str, Split] = {
        split: ParquetSplit(groups[split], _unpacked(groups[split], columns), values)
        for split, values in indices.items()
    }
    return Dataset(spec, class_names, splits)


class ParquetSplit:
    """The images of some parquet files, read from their unpacked, memory-mapped Arrow files.

    Only paths and labels are pickled: another process maps the files again.
    """

    def __init__(
        self, files: Sequence[Path], unpacked: Sequence[Path], labels: npt.NDArray[np.int64]
    ) -> None:
        """Hold the images of `files`, unpacked into `unpacked`, with their `labels` (N,)."""
        self.files = tuple(files)
        self.unpacked = tuple(unpacked)
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


def _schema(path: Path) -> pa.Schema:
    with _readable(path):
        return pq.read_schema(path)


def _read_labels(files: Sequence[Path], column: str) -> pa.ChunkedArray:
    """Return the label column (N,) of all `files`, in the type that the first one has."""
    parts: list[pa.ChunkedArray] = []
    for path in files:
        with _readable(path):
            part = pq.read_table(path, columns=[column])[column]
            parts.append(part.cast(parts[0].type) if parts else part)
    return pa.chunked_array([chunk for part in parts for chunk in part.chunks], parts[0].type)


def _unpacked(files: Sequence[Path], columns: Columns) -> list[Path]:
    """Return the Arrow file with the images of each parquet file; make those that are missing."""
    folder = data_home() / "parquet"
    targets = []
    for file in files:
        target = folder / f"{fingerprint([file])}-{columns.image}.arrow"
        targets.append(target)
        if target.exists():
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # One of several processes that start together unpacks, the others wait for it.
            with FileLock(f"{target}.lock"):
                if not target.exists():
                    logger.info("unpacking %s for random access into %s", file, target)
                    _unpack(file, columns.image, target)
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
