"""Parquet files in the Hugging Face hub's form: images as bytes, class labels as integers."""

from collections.abc import Sequence
from pathlib import Path

from mlpmixer.data.dataset import Dataset, Split
from mlpmixer.data.sources.declaration import Source
from mlpmixer.data.split_names import ALIASES, group_by_split
from mlpmixer.errors import UsageError

SOURCE = Source(
    example="x.parquet",
    help="parquet in the Hugging Face hub's form, or a folder of it; splits by file name",
    suffix=".parquet",
    in_folder=lambda folder: parquet_files(folder),
    open=lambda spec, files: open_parquet(files, spec),
)


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
    from mlpmixer.data.columns import class_labels, find_columns
    from mlpmixer.data.unpacked_parquet import ParquetSplit, read_labels, read_schema

    groups = group_by_split(files)
    first = next(iter(groups.values()))[0]
    columns = find_columns(read_schema(first), str(first))
    labels = {}
    for split, paths in groups.items():
        for path in paths:
            missing = {columns.image, columns.label} - set(read_schema(path).names)
            if missing:
                raise UsageError(
                    f"{path} has no column {missing.pop()!r}, which {first} has. "
                    "All files must have the same columns."
                )
        labels[split] = read_labels(paths, columns.label)
    class_names, indices = class_labels(labels, columns.class_names, spec)
    splits: dict[str, Split] = {}
    notes = []
    for split, paths in groups.items():
        if split in indices:
            images = ParquetSplit(paths, columns.image, indices[split])
            images.check_files()
            splits[split] = images
        else:
            count = len(labels[split])
            notes.append(f"the {count:,} {split} images have no labels and are left out")
    return Dataset(spec, class_names, splits, tuple(notes))
