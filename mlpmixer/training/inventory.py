"""Which images a training was begun on, so that a resumed one notices that they have changed."""

import gzip
import json
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from mlpmixer.data.dataset import Dataset
from mlpmixer.data.label_sets import label_sets_of
from mlpmixer.errors import UsageError
from mlpmixer.files import replacing

IMAGES_FILE = "images.jsonl.gz"
"""In the folder of the saved state: a line an image, with its split, class, name and size."""
_FORM = "sizes-"
"""How digests begin; those of earlier versions, which knew no sizes, begin in no such way."""


class ChangedData(UsageError):
    """The data is no longer what a run was trained on; the text says what changed, not what to do.

    That depends on who asked for the training.
    """


def image_lines(dataset: Dataset, *, sizes: bool = True) -> Iterator[bytes]:
    """Yield a line for each image, in the order of training; of millions none is kept.

    It holds the split, the class or a list of several, the name and, with `sizes`, the stored
    bytes. Names are told from the source on, so that moving its folder changes none.
    """
    root = f"{Path(dataset.spec).expanduser()}/"
    for split_name, split in dataset.splits.items():
        labels, sets = split.labels, label_sets_of(split)
        stored = split.sizes() if sizes else None
        for index in range(len(split)):
            classes = [labels[index]] if sets is None else sets.of_image(index)
            names = [dataset.class_names[label] for label in classes]
            entry = (
                split_name,
                names if len(names) > 1 else names[0],
                split.name(index).removeprefix(root),
                *([] if stored is None else [int(stored[index])]),
            )
            yield json.dumps(entry).encode() + b"\n"


def digest(dataset: Dataset) -> str:
    """Return a key of the classes, and of the names, labels and sizes of each split's images."""
    return _FORM + _key(dataset, sizes=True)


def is_digest_of(stored: str, dataset: Dataset, current: str) -> bool:
    """Tell whether a digest in a saved state is that of a data set, whose digest now is `current`.

    One that an earlier version has stored tells nothing of the sizes.
    """
    if stored.startswith(_FORM):
        return stored == current
    return stored == _key(dataset, sizes=False)


def _key(dataset: Dataset, *, sizes: bool) -> str:
    key = blake2b(json.dumps(dataset.class_names).encode(), digest_size=16)
    for line in image_lines(dataset, sizes=sizes):
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


class _Listed(NamedTuple):
    """What is listed of an image."""

    classes: str | list[str]
    size: int | None = None
    """In bytes; None in a list of an earlier version."""


Images = Mapping[str, _Listed]
"""By name."""


def _by_split(lines: Iterator[bytes] | gzip.GzipFile) -> dict[str, dict[str, _Listed]]:
    found: dict[str, dict[str, _Listed]] = {}
    for line in lines:
        split, classes, name, *size = json.loads(line)
        found.setdefault(split, {})[name] = _Listed(classes, *size)
    return found


def _classes(before: Mapping[str, Images], now: Mapping[str, Images]) -> str:
    old, new = (
        {
            name
            for images in splits.values()
            for names, _ in images.values()
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
    kept = [name for name in new if name in old]
    relabelled = [name for name in kept if new[name].classes != old[name].classes]
    resized = [name for name in kept if None is not old[name].size != new[name].size]
    parts = []
    if added:
        parts.append(f"{len(added):,} added ({added[0]})")
    if removed:
        parts.append(f"{len(removed):,} removed ({removed[0]})")
    parts += [f"{moved.count(other):,} from {other}" for other in dict.fromkeys(moved)]
    if relabelled:
        name = relabelled[0]
        parts.append(
            f"{len(relabelled):,} with another label "
            f"({name}: {old[name].classes}, now {new[name].classes})"
        )
    if resized:
        name = resized[0]
        parts.append(
            f"{len(resized):,} of another size "
            f"({name}: {old[name].size:,} bytes, now {new[name].size:,})"
        )
    return ", ".join(parts)
