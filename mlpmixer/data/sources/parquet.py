"""Parquet files in the Hugging Face hub's form: images as bytes, class labels as integers."""

from collections.abc import Sequence
from pathlib import Path

from mlpmixer.data.dataset import Dataset, Split
from mlpmixer.data.sources.declaration import Source
from mlpmixer.data.split_names import ALIASES, File, group_by_split
from mlpmixer.formatting import counted

SOURCE = Source(
    example="x.parquet",
    help="parquet in the Hugging Face hub's form, or a folder of it; splits by file name",
    suffix=".parquet",
    in_folder=lambda folder: parquet_files(folder),
    open=lambda spec, files: open_parquet(files, spec),
    open_remote=lambda url: open_remote_parquet(url),
)
STREAM_ABOVE = 8_000_000_000
"""Bytes of parquet files on this machine above which they are not unpacked but streamed."""


def parquet_files(folder: Path) -> list[Path]:
    """Return the parquet files of `folder`, its data/ folder or its folders named after splits."""
    places = [folder, folder / "data"]
    places += [path for path in folder.iterdir() if path.name.lower() in ALIASES]
    for place in places[:2]:
        if found := sorted(place.glob("[!.]*.parquet")):
            return found
    return sorted(path for place in places[2:] for path in place.glob("[!.]*.parquet"))


def open_parquet(files: Sequence[File], spec: str) -> Dataset:
    """Return the images in parquet files; their names tell the split, else all are for training.

    A row group of parquet can only be read as a whole, far too slow for images in random order.
    Files of up to STREAM_ABOVE bytes on this machine are therefore unpacked once into Arrow files
    below `mlpmixer.data.cache.data_home`, which take about the same room; they are mapped into
    memory, so that all processes share one copy that the system can drop at any time, and are made
    anew when a parquet file changes. Larger ones, and all that lie elsewhere, are read as a stream:
    row groups in random order, of which a bounded number is on the disk.

    Labels are numbers or names, or lists of them; the schemas name the numbers, or a file
    ``classes.txt`` beside the first file.

    Raises UsageError where columns or labels are missing or contradict each other, MixerError
    where a file is damaged or what is read cannot be kept.
    """
    from mlpmixer.data.class_list import listed_classes
    from mlpmixer.data.columns import find_columns, named_in
    from mlpmixer.data.label_types import common_names
    from mlpmixer.data.list_columns import split_labels
    from mlpmixer.data.parquet_files import check_columns, read_schema
    from mlpmixer.data.parquet_index import index_files
    from mlpmixer.data.parquet_stream import ParquetStream
    from mlpmixer.data.unpacked_parquet import ParquetSplit, read_labels

    groups = group_by_split(files)
    first = next(iter(groups.values()))[0]
    columns = find_columns(read_schema(first), str(first))
    here = {split: _on_this_machine(paths) for split, paths in groups.items()}
    indexes = {}
    ordered = [path for paths in groups.values() for path in paths]
    if _streamed(files):
        indexes = {split: index_files(paths, columns) for split, paths in groups.items()}
        labels = {split: index.labels for split, index in indexes.items()}
        names = [one for index in indexes.values() for one in index.class_names]
    else:
        schemas = [read_schema(path) for path in ordered]
        for path, schema in zip(ordered, schemas, strict=True):
            check_columns(schema, columns, path)
        names = [named_in(schema, columns.label) for schema in schemas]
        labels = {split: read_labels(paths, columns.label) for split, paths in here.items()}
    listed = common_names(ordered, names) or listed_classes(first.parent)
    class_names, known = split_labels(labels, listed, spec)
    splits: dict[str, Split] = {}
    notes = []
    for split, paths in groups.items():
        if split not in known:
            count = len(labels[split])
            notes.append(
                f"left out, because there are no labels: {counted(count, f'{split} image')}"
            )
        elif indexes:
            splits[split] = ParquetStream(paths, columns.image, indexes[split], known[split])
        else:
            images = ParquetSplit(here[split], columns.image, known[split])
            images.check_files()
            splits[split] = images
    return Dataset(spec, class_names, splits, tuple(notes))


def open_remote_parquet(url: str) -> Dataset:
    """Return the images in parquet files on a web server or in a bucket, as `open_parquet` does.

    The URL has {000..127} or {a,b} for several files. Each is read once from end to end for the
    sizes of its images, which are kept; from then on only by row groups that are wanted.
    """
    from mlpmixer.data.remote import expand_url

    return open_parquet(expand_url(url), url)


def _on_this_machine(files: Sequence[File]) -> list[Path]:
    return [file for file in files if isinstance(file, Path)]


def _streamed(files: Sequence[File]) -> bool:
    """Tell whether files are read as a stream, and not unpacked."""
    here = _on_this_machine(files)
    return len(here) < len(files) or sum(file.stat().st_size for file in here) > STREAM_ABOVE
