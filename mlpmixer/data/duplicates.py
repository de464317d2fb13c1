"""Images that are there more than once: within a split, across splits, with different labels."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement
from typing import Any

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest

from mlpmixer.data.blocks import blocks_in
from mlpmixer.data.dataset import Split
from mlpmixer.data.label_sets import label_sets_of

_CHUNK = 256  # images a thread reads at a time
_EXAMPLES = 5


@dataclass(frozen=True)
class Duplicates:
    """Which images are the same: the same bytes, or as `near_duplicates` finds them alike."""

    images: Mapping[str, int]
    """All images of each split."""
    within: Mapping[str, int]
    """Of each split that has some: images that are copies of an earlier one in it."""
    across: Mapping[tuple[str, str], int]
    """Of two splits that share some: images of the second one that the first one has too."""
    conflicting: int
    """Images of which there is a copy with another label."""
    examples: tuple[tuple[str, str], ...]
    """The names of some pairs; those across splits come first."""
    example_of: Mapping[tuple[str, str], tuple[str, str]]
    """The names of one pair for each pair of splits that share some, and of a split with itself."""

    def sentences(self, copy: str = "copy", copies: str = "copies") -> list[str]:
        """Return what there is to say, in these words; nothing where there are no duplicates."""
        told = [
            f"{second} images that are {copies} of {first} images: {count:,} of "
            f"{self.images[second]:,}{self._such_as(first, second)}"
            for (first, second), count in self.across.items()
        ]
        told += [
            f"{split} images that are {copies} of other {split} images: {count:,} of "
            f"{self.images[split]:,}{self._such_as(split, split)}"
            for split, count in self.within.items()
        ]
        if self.conflicting:
            told.append(f"images of which a {copy} has another label: {self.conflicting:,}")
        return told

    def _such_as(self, first: str, second: str) -> str:
        one, other = self.example_of[first, second]
        return f", such as {other} of {one}"

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain dictionaries and lists."""
        return {
            "within": dict(self.within),
            "across": [
                {"splits": list(splits), "images": count} for splits, count in self.across.items()
            ],
            "conflicting_labels": self.conflicting,
            "examples": [list(pair) for pair in self.examples],
        }


def find_duplicates(
    splits: Mapping[str, Split],
    *,
    threads: int = 8,
    progress: Callable[[float], None] | None = None,
) -> Duplicates:
    """Return which images of some splits are the same to the last byte.

    Only images of the same size in bytes are read, which among photos are few. Images that cannot
    be read are left out, and so are those that are read in blocks: too many, and too far away.
    `progress` is called in this thread with the share that is done.
    """
    sizes = [split.sizes() for split in splits.values()]
    different, counts = np.unique(np.concatenate(sizes), return_counts=True)
    repeated = different[(counts > 1) & (different > 0)]
    places = [
        np.flatnonzero(np.isin(part, repeated) & (blocks_in(split) is None))
        for part, split in zip(sizes, splits.values(), strict=True)
    ]
    total = sum(map(len, places))
    digests: list[int] = []
    with ThreadPoolExecutor(threads) as pool:
        for split, indices in zip(splits.values(), places, strict=True):
            for chunk in pool.map(*_reading(split, indices)):
                digests += chunk
                if progress is not None:
                    progress(len(digests) / total)
    return grouped(splits, places, np.array(digests, dtype=np.uint64))


def _reading(
    split: Split, indices: npt.NDArray[np.int64]
) -> tuple[Callable[[int], list[int]], range]:
    """Return a function that gives the digests of a chunk of images, and where the chunks begin."""

    def read(start: int) -> list[int]:
        return [_digest(split, index) for index in indices[start : start + _CHUNK].tolist()]

    return read, range(0, len(indices), _CHUNK)


def _digest(split: Split, index: int) -> int:
    """Return 64 bits that stand for an image's bytes, 0 where it cannot be read."""
    try:
        encoded = split.encoded(index)
    except OSError:
        return 0
    return xxh3_64_intdigest(encoded if isinstance(encoded, bytes) else encoded.tobytes())


def _label_keys(split: Split, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return a number that stands for the label, or for all labels, of each image, (n,)."""
    sets = label_sets_of(split)
    if sets is None:
        return split.labels[indices]
    keys = (
        xxh3_64_intdigest(repr(sorted(sets.of_image(index))).encode()) for index in indices.tolist()
    )
    return np.fromiter(keys, np.uint64, len(indices)).view(np.int64)


def grouped(
    splits: Mapping[str, Split],
    places: Sequence[npt.NDArray[np.int64]],
    keys: npt.NDArray[np.generic],
) -> Duplicates:
    """Return what is the same, from images at `places` in each split and a key of each, (N,).

    Images with one key are the same; the key 0 stands for an image that cannot be read.
    """
    names = list(splits)
    of_split = np.repeat(np.arange(len(names)), [len(indices) for indices in places])  # (N,)
    indices = np.concatenate(places)  # (N,)
    labels = np.concatenate(
        [_label_keys(split, part) for split, part in zip(splits.values(), places, strict=True)]
    )
    _, group, counts = np.unique(keys, return_inverse=True, return_counts=True)
    taken = np.flatnonzero((counts[group] > 1) & (keys != 0))
    taken = taken[np.argsort(group[taken], kind="stable")]  # by group, then by split and index
    of_split, indices, labels = of_split[taken], indices[taken], labels[taken]
    begins = np.diff(group[taken], prepend=-1) != 0
    starts, group = np.flatnonzero(begins), np.cumsum(begins) - 1  # (G,) and (M,)
    present = np.zeros((len(starts), len(names)), dtype=np.int64)  # (G, splits): images
    np.add.at(present, (group, of_split), 1)
    across = {
        (names[a], names[b]): int(present[present[:, a] > 0, b].sum())
        for a, b in combinations(range(len(names)), 2)
    }
    odd = np.zeros(len(starts), dtype=bool)  # (G,): with more than one label
    odd[group[labels != labels[starts][group]]] = True
    ends = [*starts[1:].tolist(), len(group)]

    def named(number: int, *of: int) -> tuple[str, str]:
        """Return the names of two images of a group: of two splits, where they are given."""
        members = np.arange(starts[number], ends[number])
        first = members[of_split[members] == of[0]][0] if of else members[0]
        others = members[members != first]
        others = others[of_split[others] == of[1]] if of else others
        elsewhere = others[of_split[others] != of_split[first]]
        second = (elsewhere if len(elsewhere) else others)[0]
        one, other = (splits[names[of_split[n]]].name(int(indices[n])) for n in (first, second))
        return one, other

    wide = (present > 0).sum(axis=1) > 1
    examples = [named(int(n)) for n in np.argsort(~wide, kind="stable")[:_EXAMPLES]]
    example_of = {}
    for a, b in combinations_with_replacement(range(len(names)), 2):
        shared = present[:, a] > 1 if a == b else (present[:, a] > 0) & (present[:, b] > 0)
        if shared.any():
            example_of[names[a], names[b]] = named(int(shared.argmax()), a, b)
    within = np.maximum(present - 1, 0).sum(axis=0).tolist()
    return Duplicates(
        images={name: len(split) for name, split in splits.items()},
        within={name: count for name, count in zip(names, within, strict=True) if count},
        across={pair: count for pair, count in across.items() if count},
        conflicting=int(odd[group].sum()),
        examples=tuple(examples),
        example_of=example_of,
    )
