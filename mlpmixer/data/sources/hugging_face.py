"""Data sets of the Hugging Face hub, through the `datasets` library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlpmixer.data.dataset import Dataset, Split
from mlpmixer.data.sources.declaration import Source
from mlpmixer.data.split_names import split_of_name
from mlpmixer.errors import MixerError, UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

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

    from mlpmixer.data.columns import class_labels, find_columns

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
    for name, table in loaded.items():
        split = split_of_name(str(name))
        if split is not None and split not in tables:
            tables[split] = table
    if not tables:
        raise UsageError(
            f"{spec} has no split named train, validation or test, but {', '.join(loaded)}."
        )
    first = next(iter(tables.values()))
    columns = find_columns(first.features.arrow_schema, spec)
    label_columns = {split: table.data.column(columns.label) for split, table in tables.items()}
    class_names, labels = class_labels(label_columns, columns.class_names, spec)
    splits: dict[str, Split] = {
        split: HubSplit(tables[split], columns.image, values, f"{spec} {split}")
        for split, values in labels.items()
    }
    return Dataset(spec, class_names, splits)


class HubSplit:
    """One split of a `datasets.Dataset`, memory-mapped by it; pickled as the path of its files."""

    def __init__(self, table: Any, image: str, labels: npt.NDArray[np.int64], title: str) -> None:
        """Hold the `image` column of `table` with its `labels` (N,); `title` starts the names."""
        import datasets

        if isinstance(table.features[image], datasets.Image):
            table = table.cast_column(image, datasets.Image(decode=False))
        self._table = table.select_columns([image])
        self._image = image
        self._labels = labels
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
        if value is not None and value["bytes"] is not None:
            content: bytes = value["bytes"]
            return content
        if value is not None and value["path"] is not None:
            with open(value["path"], "rb") as file:
                return file.read()
        return b""

    def name(self, index: int) -> str:
        """Return the data set, the split and the row."""
        return f"{self._title} row {index}"
