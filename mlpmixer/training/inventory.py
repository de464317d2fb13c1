"""Which images a training was begun on, so that a resumed one notices that they have changed."""

import gzip
import json
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path

from mlpmixer.data.dataset import Dataset
from mlpmixer.data.label_sets import label_sets_of
from mlpmixer.errors import UsageError
from mlpmixer.files import replacing

IMAGES_FILE = "images.jsonl.gz"
"""In the folder of the saved state: a line an image, with its split, class and name."""


class ChangedData(UsageError):
    """The data is no longer what a run was trained on; the text says what changed, not what to do.

    That depends on who asked for the training.
    """


def image_lines(dataset: Dataset) -> Iterator[bytes]:
    """Yield a line for each image, in the order of training; of millions none is kept.

    It holds the split, the class or a list of several, and the name. Names are told from the source
    on, so that moving its folder changes none.
    """
    root = f"{Path(dataset.spec).expanduser()}/"
    for split_name, split in dataset.splits.items():
        labels, sets = split.labels, label_sets_of(split)
        for index in range(len(split)):
            classes = [labels[index]] if sets is None else sets.of_image(index)
            names = [dataset.class_names[label] for label in classes]
            entry = (
                split_name,
                names if len(names) > 1 else names[0],
                split.name(index).removeprefix(root),
            )
            yield json.dumps(entry).encode() + b"\n"


def digest(dataset: Dataset) -> str:
    """Return a key of the classes, and of the names and labels of each split's images."""
    key = blake2b(json.dumps(dataset.class_names).encode(), digest_size=16)
    for line in image_lines(dataset):
        key.update(line)
    return key.hexdigest()


def write_inventory(folder: Path, dataset: Dataset) -> None:
    """Write IMAGES_FILE, whole or not at all."""
    with replacing(folder / IMAGES_FILE) as path, gzip.open(path, "wb", compresslevel=1) as file:
        file.writelines(image_lines(dataset))


def changes(folder: Path, dataset: Dataset) -> str:
    """Say in a sentence how a data set differs from the one that IMAGES_FILE was written for."""
    try:
        with gzip.open(folder / IMAGES_FILE, "rb") as file:
            before = _by_split(file)
    except (OSError, EOFError, ValueError) as error:
        return f"what changed cannot be told, for want of {folder / IMAGES_FILE} ({error})"
    now = _by_split(image_lines(dataset))
    told = [_classes(before, now)]
    for split in dict.fromkeys((*now, *before)):
        said = _split_changes(split, before, now)
        if said:
            told.append(f"{split}: {said}")
    return "; ".join(filter(None, told)) or "the same images come in another order"


Classes = str | list[str]
Images = Mapping[str, Classes]
"""The class of each image, by name; several as a list."""


def _by_split(lines: Iterator[bytes] | gzip.GzipFile) -> dict[str, dict[str, Classes]]:
    found: dict[str, dict[str, Classes]] = {}
    for line in lines:
        split, class_name, name = json.loads(line)
        found.setdefault(split, {})[name] = class_name
    return found


def _classes(before: Mapping[str, Images], now: Mapping[str, Images]) -> str:
    old, new = (
        {
            name
            for images in splits.values()
            for names in images.values()
            for name in ([names] if isinstance(names, str) else names)
        }
        for splits in (before, now)
    )
    parts = []
    if added := sorted(new - old):
        parts.append(f"new classes: {', '.join(map(repr, added[:3]))}")
    if gone := sorted(old - new):
        parts.append(f"classes that are gone: {', '.join(map(repr, gone[:3]))}")
    return "; ".join(parts)


def _split_changes(split: str, before: Mapping[str, Images], now: Mapping[str, Images]) -> str:
    old, new = before.get(split, {}), now.get(split, {})
    others = {name: other for other, images in before.items() for name in images if other != split}
    still_there = {name for images in now.values() for name in images}
    added = [name for name in new if name not in old and name not in others]
    moved = [others[name] for name in new if name not in old and name in others]
    removed = [name for name in old if name not in still_there]
    relabelled = [name for name in new if name in old and new[name] != old[name]]
    parts = []
    if added:
        parts.append(f"{len(added):,} added ({added[0]})")
    if removed:
        parts.append(f"{len(removed):,} removed ({removed[0]})")
    parts += [f"{moved.count(other):,} from {other}" for other in dict.fromkeys(moved)]
    if relabelled:
        name = relabelled[0]
        parts.append(
            f"{len(relabelled):,} with another label ({name}: {old[name]}, now {new[name]})"
        )
    return ", ".join(parts)
