"""Data sets of the Hugging Face hub, through the `datasets` library."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpmixer.data.dataset import Dataset, Split
from mlpmixer.data.sources.declaration import Source
from mlpmixer.data.split_names import split_of_name
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.formatting import counted, printable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mlpmixer.data.label_sets import SplitLabels

PREFIX = "hf:"
SOURCE = Source(
    prefix=PREFIX,
    example="hf:user/name",
    help="a data set of the Hugging Face hub",
    open=lambda spec, files: open_hub(spec),
)


def open_hub(spec: str) -> Dataset:
    """Return the data set ``hf:user/name``, or one of its configurations: ``hf:user/name:config``.

    It is downloaded on first use into the cache of `datasets` ($HF_HOME) and read through a memory
    map. Splits are known by their names (validation also as val, valid or dev); others are passed
    over. A local folder that `datasets` can load works too.

    Raises UsageError where there is no such data set or it has no image or label column,
    MixerError where the download fails.
    """
    import datasets

    from mlpmixer.data.columns import find_columns
    from mlpmixer.data.list_columns import split_labels

    path, _, config = spec.removeprefix(PREFIX).partition(":")
    if not path:
        raise UsageError(f"{spec!r} names no data set: write hf:user/name or hf:user/name:config.")
    try:
        loaded = datasets.load_dataset(path, config or None)
    except (datasets.exceptions.DatasetNotFoundError, FileNotFoundError) as error:
        raise UsageError(
            f"there is no data set {path!r} on the Hugging Face hub, or it is private or gated. "
            "Check the name; for a private one, log in with `hf auth login`."
        ) from error
    except ValueError as error:  # an unknown configuration: the text names those there are
        raise UsageError(f"cannot load {spec}: {' '.join(str(error).split())}") from error
    except (ConnectionError, OSError, datasets.exceptions.DatasetGenerationError) as error:
        reason = " ".join(str(error).split())
        raise MixerError(f"cannot download {spec}: {reason}. Check the network.") from error
    tables: dict[str, Any] = {}
    passed_over = {}
    for name, table in loaded.items():
        split = split_of_name(str(name))
        if split is not None and split not in tables:
            tables[split] = table
        else:
            passed_over[f"images in the split {printable(str(name))}"] = len(table)
    if not tables:
        raise UsageError(
            f"{spec} has no split named train, validation or test, but {', '.join(loaded)}."
        )
    first = next(iter(tables.values()))
    columns = find_columns(first.features.arrow_schema, spec)
    if first.features[columns.image] == datasets.Value("string"):
        raise UsageError(
            f"the column {columns.image} of {spec} holds paths, and no images are in the table."
        )
    label_columns = {split: table.data.column(columns.label) for split, table in tables.items()}
    class_names, labels = split_labels(label_columns, columns.class_names, spec)
    splits: dict[str, Split] = {
        split: HubSplit(tables[split], columns.image, values, f"{spec} {split}")
        for split, values in labels.items()
    }
    notes = tuple(
        f"left out, because there are no labels: {counted(len(table), f'{split} image')}"
        for split, table in tables.items()
        if split not in labels
    )
    return Dataset(spec, class_names, splits, notes, passed_over)


class HubSplit:
    """One split of a `datasets.Dataset`, memory-mapped by it; pickled as the path of its files."""

    def __init__(self, table: Any, image: str, known: SplitLabels, title: str) -> None:
        """Hold the `image` column of `table` with its labels; `title` starts the names."""
        import datasets

        if isinstance(table.features[image], datasets.Image):
            table = table.cast_column(image, datasets.Image(decode=False))
        self._table = table.select_columns([image])
        self._image = image
        self._labels = known.labels
        self.label_sets = known.sets
        self._title = title

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class indices, (N,)."""
        return self._labels

    def __len__(self) -> int:
        """Return the number of images, N."""
        return len(self._labels)

    def encoded(self, index: int) -> bytes:
        """Return the bytes of an image, from the table or the file that it points to."""
        value = self._table[index][self._image]
        if isinstance(value, bytes):
            return value
        content: bytes | None = None if value is None else value.get("bytes")
        if content is None and (path := (value or {}).get("path")) is not None:
            with open(path, "rb") as file:
                return file.read()
        return content or b""

    def sizes(self) -> npt.NDArray[np.int64]:
        """Return the bytes of each image, (N,), 0 where there are none."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        from mlpmixer.data.columns import image_bytes
        from mlpmixer.data.splits import file_size

        chunks = self._table.data.column(self._image).chunks
        images = pa.chunked_array([image_bytes(chunk) for chunk in chunks], pa.binary())
        sizes = pc.binary_length(images).fill_null(0).to_numpy().astype(np.int64)
        for index in np.flatnonzero(images.is_null().to_numpy()):
            value = self._table[int(index)][self._image]
            if value is not None and value.get("path") is not None:
                sizes[index] = file_size(Path(value["path"]))
        return sizes

    def stored_paths(self) -> list[str | None]:
        """Return the path that each image once had, (N,); None where the table has none."""
        from mlpmixer.data.columns import image_paths

        chunks = self._table.data.column(self._image).chunks
        return [path for chunk in chunks for path in image_paths(chunk).to_pylist()]

    def name(self, index: int) -> str:
        """Return the data set, the split and the row."""
        return printable(f"{self._title} row {index}")
