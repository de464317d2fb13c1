"""Parquet files, here or on a server: what they hold, read piece by piece."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mlpmixer.data.columns import Columns, image_paths, is_text
from mlpmixer.data.remote import RemotePath
from mlpmixer.errors import MixerError, UsageError

_BUFFER = 4 << 20  # bytes of a column that are in memory at once, and asked for at a time


class _RemoteFile(io.RawIOBase):
    """A remote file as Python's files are, read by ranges."""

    def __init__(self, path: RemotePath) -> None:
        super().__init__()
        self._path = path
        self._size = path.describe()[0]
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def read(self, count: int = -1, /) -> bytes:
        end = self._size if count < 0 else min(self._size, self._place + count)
        content = self._path.read(self._place, end)
        self._place += len(content)
        return content


@contextmanager
def opened(path: Path | RemotePath) -> Iterator[pq.ParquetFile]:
    """Open a parquet file, of which a few megabytes a column are in memory at once.

    Raises MixerError where it cannot be read, also within the block.
    """
    try:
        source = _RemoteFile(path) if isinstance(path, RemotePath) else path
        with pq.ParquetFile(source, buffer_size=_BUFFER) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise MixerError(f"cannot read {path} as parquet: {str(error).splitlines()[0]}") from error


def read_schema(path: Path | RemotePath) -> pa.Schema:
    """Return the columns of a parquet file. Raises MixerError where it cannot be read."""
    with opened(path) as file:
        return file.schema_arrow


def check_columns(schema: pa.Schema, columns: Columns, path: Path | RemotePath) -> None:
    """Raise UsageError where the schema of a file at `path` lacks one of the columns."""
    for name in (columns.image, columns.label):
        if name not in schema.names:
            raise UsageError(
                f"{path} has no column {name!r}, which other files of this data have. "
                "All files must have the same columns."
            )


def read_paths(path: Path | RemotePath, column: str) -> list[str | None]:
    """Return the paths in an image column of a parquet file, (N,), without reading the images.

    None where a row has no path. Raises MixerError where the file cannot be read.
    """
    with opened(path) as file:
        kind = file.schema_arrow.field(column).type
        if not is_text(kind) and not (
            pa.types.is_struct(kind) and kind.get_field_index("path") >= 0
        ):
            return [None] * int(file.metadata.num_rows)
        found = file.read([column if is_text(kind) else f"{column}.path"])[column]
        return [one for chunk in found.chunks for one in image_paths(chunk).to_pylist()]


def read_rows(path: Path) -> int:
    """Return the rows of a parquet file. Raises MixerError where it cannot be read."""
    with opened(path) as file:
        return int(file.metadata.num_rows)
