"""WebDataset tar shards: images with their labels, by the names of the members."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlpmixer.data.dataset import Dataset, Split
from mlpmixer.data.sources.declaration import Source
from mlpmixer.data.split_names import group_by_split
from mlpmixer.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SOURCE = Source(
    example="shards/{000..127}.tar",
    help="WebDataset shards: `.cls` or `.json` labels, names from `classes.txt`",
    suffix=".tar",
    in_folder=lambda folder: sorted(folder.glob("[!.]*.tar")),
    open=lambda spec, files: open_shards(files, spec),
)


def open_shards(shards: Sequence[Path], spec: str) -> Dataset:
    """Return the images in WebDataset shards; their names tell the split, else all are training.

    Members with one key (the path up to the first dot of the file name) make a sample: an image
    such as ``0001.jpg`` and its label, as number or name, in ``0001.cls`` or under "label" in
    ``0001.json``. A file ``classes.txt`` beside the shards names the classes, one a line.
    Without it, numbers are class indices, named "0" to the largest, and names are sorted.

    The shards are read once from end to end for their index, which is kept below
    `mlpmixer.data.cache.data_home` until a shard changes.

    Raises UsageError where samples have no label or one that does not fit, MixerError where a
    shard is damaged or compressed.
    """
    import numpy as np

    from mlpmixer.data.tar_index import ShardSplit, index_shards

    groups = group_by_split(shards)
    indexes = {split: index_shards(paths) for split, paths in groups.items()}
    texts = {split: index.labels for split, index in indexes.items()}
    names = _listed_classes(shards[0].parent) or _found_classes(texts)
    label_of = {name: label for label, name in enumerate(names)}
    splits: dict[str, Split] = {}
    for split, index in indexes.items():
        values, inverse = np.unique(index.labels, return_inverse=True)
        labels = [_label(str(value), label_of, spec, split) for value in values]
        splits[split] = ShardSplit(groups[split], index, np.array(labels, dtype=np.int64)[inverse])
    return Dataset(spec, names, splits)


def _listed_classes(folder: Path) -> tuple[str, ...] | None:
    listing = folder / "classes.txt"
    if not listing.exists():
        return None
    return tuple(line.strip() for line in listing.read_text("utf-8").splitlines() if line.strip())


def _found_classes(labels: dict[str, npt.NDArray[np.str_]]) -> tuple[str, ...]:
    import numpy as np

    everywhere = np.unique(np.concatenate(list(labels.values())))
    if all(re.fullmatch(r"\d+", str(label)) for label in everywhere):
        return tuple(str(number) for number in range(max(int(label) for label in everywhere) + 1))
    reference = labels.get("train", everywhere)
    return tuple(str(name) for name in np.unique(reference))


def _label(text: str, label_of: dict[str, int], spec: str, split: str) -> int:
    """Return the index of a class given by name or number."""
    if text in label_of:
        return label_of[text]
    if text.isdecimal() and int(text) < len(label_of):
        return int(text)
    raise UsageError(
        f"{spec} has the label {text!r} in its {split} images, which is none of its "
        f"{len(label_of)} classes. They are named by classes.txt beside the shards, or else by "
        "the training images."
    )
