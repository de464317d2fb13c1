"""What is known of the images in parquet files before one is read: sizes, labels, row groups."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock

from mlpmixer.data.cache import data_home, fingerprint
from mlpmixer.data.columns import Columns, image_bytes, named_in, without_dictionary
from mlpmixer.data.label_types import joined_labels
from mlpmixer.data.parquet_files import check_columns, opened, read_schema
from mlpmixer.data.remote import RemotePath
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.files import replacing

_FORM = "sizes, labels and row groups"
_ROWS = 64  # that are in memory at once
_THREADS = 8  # files indexed at once: hides the waiting for servers


@dataclass(frozen=True)
class ParquetIndex:
    """The N images of some files, file by file and row by row."""

    marks: tuple[str, ...]
    """Of each file, what changes with its content."""
    sizes: npt.NDArray[np.int64]
    """Bytes of each image, (N,); 0 where there is none."""
    labels: pa.ChunkedArray
    """The label column, (N,)."""
    class_names: tuple[tuple[str, ...] | None, ...]
    """The names that the schema of each file gives to the numbers, if it does."""
    files: npt.NDArray[np.int32]
    """The file of each row group, (G,)."""
    groups: npt.NDArray[np.int32]
    """The number of each row group in its file, (G,)."""
    starts: npt.NDArray[np.int64]
    """The first image of each row group, rising from 0, (G,); those without rows are left out."""


def index_files(files: Sequence[Path | RemotePath], columns: Columns) -> ParquetIndex:
    """Return the index of files, each of which is read once from end to end and then remembered.

    Raises UsageError where no image lies in the files or their labels do not go together,
    MixerError where one cannot be read or the index cannot be kept.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        marks, found = zip(*pool.map(lambda file: _indexed(file, columns), files), strict=True)
    rows = [np.array(json.loads(one.schema.metadata[b"rows"]), dtype=np.int64) for one in found]
    number = np.repeat(np.arange(len(rows), dtype=np.int32), [len(one) for one in rows])
    every = np.concatenate(rows)
    starts, filled = every.cumsum() - every, every > 0
    groups = np.concatenate([np.arange(len(one), dtype=np.int32) for one in rows])
    sizes = np.concatenate([one["size"].to_numpy() for one in found])
    if len(sizes) and not sizes.any():
        raise UsageError(
            f"{files[0]} and all others hold no bytes of images: write them into the table."
        )
    return ParquetIndex(
        marks=marks,
        sizes=sizes,
        labels=joined_labels(files, [one["label"] for one in found]),
        class_names=tuple(map(_names, found)),
        files=number[filled],
        groups=groups[filled],
        starts=starts[filled],
    )


def _indexed(file: Path | RemotePath, columns: Columns) -> tuple[str, pa.Table]:
    """Return a key of a file's content, and the sizes and labels of its images.

    The rows of its row groups and the class names are in the table's metadata.
    """
    folder = data_home() / "parquet"
    key = fingerprint([file], columns.image, columns.label, _FORM)
    kept = folder / f"{key}.index.arrow"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{kept}.lock"):  # of several processes one reads, and the others wait
            if not kept.exists():
                _keep(_read(file, columns), kept)
            with pa.ipc.open_file(str(kept)) as stored:
                table = stored.read_all()
            if b"names" not in table.schema.metadata:  # kept by an earlier version
                names = named_in(read_schema(file), columns.label)
                noted = {**table.schema.metadata, b"names": json.dumps(names)}
                table = table.replace_schema_metadata(noted)
                _keep(table, kept)
            return key, table
    except (pa.ArrowException, OSError) as error:
        raise MixerError(
            f"cannot keep the index of {file} in {folder}: {str(error).splitlines()[0]}. "
            "Free some space, or set MLPMIXER_DATA to another folder."
        ) from error


def _keep(table: pa.Table, kept: Path) -> None:
    with replacing(kept) as part, pa.ipc.new_file(str(part), table.schema) as sink:
        sink.write_table(table)


def _read(file: Path | RemotePath, columns: Columns) -> pa.Table:
    sizes, labels, rows = [], [], []
    with opened(file) as source:
        check_columns(source.schema_arrow, columns, file)
        for group in range(source.metadata.num_row_groups):
            rows.append(source.metadata.row_group(group).num_rows)
            for batch in source.iter_batches(
                _ROWS, row_groups=[group], columns=[columns.image, columns.label]
            ):
                images = image_bytes(batch[columns.image])
                sizes.append(pc.binary_length(images).fill_null(0).cast(pa.int64()))
                labels.append(batch[columns.label])
        kind = source.schema_arrow.field(columns.label).type
        names = named_in(source.schema_arrow, columns.label)
    column = without_dictionary(pa.chunked_array(labels, kind)).combine_chunks()
    noted = {"rows": json.dumps(rows), "names": json.dumps(names)}
    schema = pa.schema([("size", pa.int64()), ("label", column.type)], noted)
    return pa.table([pa.chunked_array(sizes, pa.int64()), column], schema=schema)


def _names(table: pa.Table) -> tuple[str, ...] | None:
    """Return the class names that the index of a file has noted."""
    names = json.loads(table.schema.metadata[b"names"])
    return None if names is None else tuple(names)
