"""WebDataset tar shards: images with their labels, by the names of the members."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlpmixer.data.dataset import Dataset, Split
from mlpmixer.data.sources.declaration import Source
from mlpmixer.data.split_names import File, group_by_split
from mlpmixer.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mlpmixer.data.remote import RemotePath


SOURCE = Source(
    example="shards/{000..127}.tar",
    help="WebDataset shards: `.cls` or `.json` labels, one or a list; names from `classes.txt`",
    suffix=".tar",
    in_folder=lambda folder: _shards_in(folder),
    open=lambda spec, files: open_shards(files, spec),
    open_remote=lambda url: open_remote_shards(url),
    any_url=True,
)


def open_shards(shards: Sequence[File], spec: str) -> Dataset:
    """Return the images in WebDataset shards; their names tell the split, else all are training.

    Members with one key (the path up to the first dot of the file name) make a sample: an image
    such as ``0001.jpg`` and its label, as number or name, in ``0001.cls`` or under "label" in
    ``0001.json``. An image of several classes has a JSON list of them there, or in ``0001.cls`` one
    a line. A file ``classes.txt`` beside the shards names the classes, one a line, or else the
    index that `mixer data pack` writes. Labels are then all names, or all indices, or such a mix
    that none could be either. Without both, numbers from 0 to K-1 are class indices, and other
    numbers and names are names. Of members with the same name the last one counts, as for tar.
    Images without label and labels without image are counted and passed over.

    The shards are read once from end to end for their index, which is kept below
    `mlpmixer.data.cache.data_home` until a shard changes.

    Raises UsageError where no image has a label or one does not fit or may mean two classes,
    MixerError where a shard is damaged or compressed.
    """
    import numpy as np

    from mlpmixer.data.label_sets import by_image
    from mlpmixer.data.remote_shards import shard_split
    from mlpmixer.data.tar_index import index_shards

    groups = group_by_split(shards)
    indexes = {split: index_shards(paths) for split, paths in groups.items()}
    names, classes = _classes(
        {split: (index.texts.tolist(), index.codes) for split, index in indexes.items()},
        shards[0].parent,
        spec,
    )
    labels = by_image(
        classes, {split: index.labels.astype(np.int64) for split, index in indexes.items()}
    )
    splits: dict[str, Split] = {
        split: shard_split(groups[split], index, labels[split]) for split, index in indexes.items()
    }
    passed_over: Counter[str] = Counter()
    for index in indexes.values():
        passed_over.update(index.passed_over)
    return Dataset(spec, names, splits, passed_over=dict(passed_over))


def _shards_in(folder: Path) -> list[Path]:
    """Return the shards in a folder.

    Raises UsageError where `mixer data pack` has not finished them, or they are not those of its
    index.
    """
    found = sorted(folder.glob("[!.]*.tar"))
    if not found and not (folder / "index.json").exists():
        return []
    from mlpmixer.data.pack_index import UNFINISHED, shards_of_pack

    if (folder / UNFINISHED).exists():
        raise UsageError(
            f"{folder} is not fully packed: start the same `mixer data pack` again, which goes on "
            "where it was stopped."
        )
    packed = shards_of_pack(folder)
    return found if packed is None else packed


def open_remote_shards(url: str) -> Dataset:
    """Return the images in shards on a web server or in a bucket, as `open_shards` does.

    The URL has {000..127} or {a,b} for several shards, or is that of the index.json of a packed
    data set, or of the folder that it is in. Shards are read once from end to end for their index,
    which is kept; from then on only by blocks of the images that are wanted.
    """
    from mlpmixer.data.remote import RemotePath, expand_url

    if url.partition("?")[0].endswith(".tar"):
        return open_shards(expand_url(url), url)
    index = RemotePath(url if url.endswith(".json") else f"{url.rstrip('/')}/index.json")
    try:
        names = [shard["name"] for shard in json.loads(index.read_bytes())["shards"]]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{index} is no index of packed shards ({error!r}): give the URL of one that "
            "`mixer data pack` has written, or those of the shards, as …/{000..127}.tar."
        ) from error
    if not names:
        raise UsageError(f"{index} names no shards: pack the data anew.")
    shards = [index.parent / name for name in names]
    for shard in shards:
        shard.describe()  # now, and not when the training has begun
    return open_shards(shards, url)


def _classes(
    texts: dict[str, tuple[list[str], npt.NDArray[np.int32]]],
    folder: Path | RemotePath,
    spec: str,
) -> tuple[tuple[str, ...], dict[str, npt.NDArray[np.int64]]]:
    """Return the class names, and the class indices (M,) of all labels of each split.

    `texts` holds the different labels of each split, and which of them each label is, (M,); in
    `folder` the classes may be listed.
    """
    import numpy as np

    from mlpmixer.data.class_labels import named_classes, numbered_classes, whole_number
    from mlpmixer.data.class_list import listed_classes

    listed = listed_classes(folder)
    numbers = {split: [whole_number(text) for text in found] for split, (found, _) in texts.items()}
    if listed is None:
        if any(None in found for found in numbers.values()):
            return named_classes(texts, None, spec)
        values = {split: np.array(found, dtype=np.int64) for split, found in numbers.items()}
        names, indices = numbered_classes(values, None, spec)
        return names, {split: indices[split][codes] for split, (_, codes) in texts.items()}
    index_of = {
        text: number
        for split, (found, _) in texts.items()
        for text, number in zip(found, numbers[split], strict=True)
    }
    label_of = _listed_labels(index_of, listed, folder, spec)
    labels = {}
    for split, (found, codes) in texts.items():
        unknown = next((text for text in found if text not in label_of), None)
        if unknown is not None:
            raise UsageError(
                f"{spec} has the label {unknown!r} in its {split} images, which is none of the "
                f"{len(listed):,} classes that are listed beside the shards."
            )
        labels[split] = np.array([label_of[text] for text in found], dtype=np.int64)[codes]
    return listed, labels


def _listed_labels(
    numbers: Mapping[str, int | None],
    listed: Sequence[str],
    folder: Path | RemotePath,
    spec: str,
) -> dict[str, int]:
    """Return the class index of each label that is a name or a number of the listed classes.

    `numbers` holds all labels of the source, and the number that each is. They are read in one way:
    with the names 1, 2 and 3 the label 1 would else be now the first class and now the second.
    """
    from mlpmixer.data.class_list import has_pack_index

    place = {name: label for label, name in enumerate(listed)}
    by_name = {text: place[text] for text in numbers if text in place}
    by_number = {
        text: number
        for text, number in numbers.items()
        if number is not None and 0 <= number < len(listed)
    }
    all_names, all_numbers = len(by_name) == len(numbers), len(by_number) == len(numbers)
    if all_numbers and not all_names:
        return by_number
    two = next((t for t in by_name if t in by_number and by_name[t] != by_number[t]), None)
    # A pack has names where a number could be taken for one.
    if two is None or (all_names and (not all_numbers or has_pack_index(folder))):
        return by_number | by_name
    raise UsageError(
        f"{spec} has the label {two!r}, which is the name of class {by_name[two]} and the number "
        f"of the class {listed[by_number[two]]!r}: remove classes.txt if it is the name, or else "
        "give names there that are no numbers."
    )
