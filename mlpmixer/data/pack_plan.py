"""Which image goes into which shard of a packed data set: settled before the first is written.

The plan follows from the source and the options alone, so that a pack that was stopped goes on
where it was, and two packs of one source are the same to the last byte.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpmixer.data.blocks import blocks_in, spread_of
from mlpmixer.data.by_class import indices_by_class
from mlpmixer.data.dataset import Dataset, Split
from mlpmixer.data.label_sets import label_sets_of
from mlpmixer.data.pack_sample import PackOptions, encode_sample
from mlpmixer.data.picture import UnreadableImage
from mlpmixer.data.splits import ArraySplit
from mlpmixer.data.stream_order import epoch_order
from mlpmixer.errors import UsageError
from mlpmixer.randomness import derived_seed

_SAMPLED = 32  # images encoded to estimate what all of them will take
_OVERHEAD = 1792  # bytes of tar around an image: two headers, a label and padding, on average


@dataclass(frozen=True)
class ShardPlan:
    """One shard."""

    split: str
    number: int
    indices: npt.NDArray[np.int64]
    """Of the images in the split, in the order in which they are written, (N,)."""

    @property
    def name(self) -> str:
        """Return the name of its file."""
        return f"{self.split}-{self.number:05}.tar"


@dataclass(frozen=True)
class PackPlan:
    """What is written, and from what."""

    dataset: Dataset
    options: PackOptions
    shards: tuple[ShardPlan, ...]

    def settings(self) -> dict[str, Any]:
        """Return what decides the bytes of the shards; a pack goes on only with the same."""
        in_blocks = any(blocks_in(split) is not None for split in self.dataset.splits.values())
        return {
            **({"order": "by blocks"} if in_blocks else {}),  # else as before there were blocks
            "source": self.dataset.spec,
            "source_digest": _digest(self.dataset),
            **self.options.as_json(),
            "classes": list(self.dataset.class_names),
            "splits": {name: len(split) for name, split in self.dataset.splits.items()},
        }

    @cached_property
    def label_texts(self) -> list[str]:
        """Return what is written of each class into the .cls files, (K,)."""
        return label_texts(self.dataset.class_names)


def plan_pack(dataset: Dataset, options: PackOptions) -> PackPlan:
    """Return the plan for a data set.

    Each class is spread evenly over the shards of its split, so that a shard holds all classes
    that have at least as many images as there are shards; in a shard they are shuffled. Of images
    of several classes the first one counts. A split that is read in blocks is cut into shards
    in the order of a training's epoch instead, which reads hardly any block twice.

    Raises UsageError where a class cannot be named in `classes.txt`.
    """
    for name in dataset.class_names:
        if name != name.strip() or not name:
            raise UsageError(
                f"{dataset.spec} has the class {name!r}, which begins or ends with a space or is "
                "empty: classes.txt cannot name it. Rename it."
            )
    shards = [
        ShardPlan(name, number, indices)
        for name, split in dataset.splits.items()
        for number, indices in enumerate(_dealt(split, options, name))
    ]
    return PackPlan(dataset, options, tuple(shards))


def _dealt(split: Split, options: PackOptions, name: str) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the images of each shard of a split."""
    count = min(len(split), _shard_count(split, options))
    blocks = blocks_in(split)
    if blocks is not None:
        seed = derived_seed(options.seed, "pack", name)
        yield from np.array_split(epoch_order(blocks, len(split), seed, spread_of(split)), count)
        return
    chance = np.random.default_rng(derived_seed(options.seed, "pack", name))
    by_class = [chance.permutation(indices) for _, indices in indices_by_class(split.labels)]
    dealt = np.concatenate(by_class)
    for number in range(count):
        yield chance.permutation(dealt[number::count])


def _shard_count(split: Split, options: PackOptions) -> int:
    """Return into how many shards a split goes, by the bytes that its images will take."""
    total = int(split.sizes().sum())
    if options.max_side is not None or isinstance(split, ArraySplit):
        total = _estimated_bytes(split, options)
    total += _OVERHEAD * len(split)
    return max(1, math.ceil(total / (options.shard_megabytes * 1e6)))


def _estimated_bytes(split: Split, options: PackOptions) -> int:
    """Return the bytes of all images once encoded, estimated from some spread over the split."""
    sizes: list[int] = []
    for index in np.linspace(0, len(split) - 1, min(_SAMPLED, len(split))).astype(int):
        try:
            sizes.append(len(encode_sample(split, int(index), options).content))
        except UnreadableImage:
            continue  # counted where all images are written
    return round(sum(sizes) / max(1, len(sizes)) * len(split))


def _digest(dataset: Dataset) -> str:
    """Return a key that changes with the names, the labels and the sizes of the images."""
    digest = hashlib.sha256()
    for name, split in dataset.splits.items():
        digest.update(f"{name}\0{len(split)}\n".encode())
        digest.update(np.ascontiguousarray(split.labels).tobytes())
        if (sets := label_sets_of(split)) is not None:
            digest.update(sets.classes.tobytes() + sets.ends.tobytes())
        digest.update(np.ascontiguousarray(split.sizes()).tobytes())
        for index in range(len(split)):
            digest.update(f"{split.name(index)}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def label_texts(class_names: Sequence[str]) -> list[str]:
    """Return what is written into the .cls file of each class.

    The class's number or, where a name looks like the number of another class, its name.
    """
    numbers = [str(label) for label in range(len(class_names))]
    confused = any(
        name in numbers and name != number
        for name, number in zip(class_names, numbers, strict=True)
    )
    return list(class_names) if confused else numbers
