"""What a data source holds: counts, image sizes, unreadable files."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mlpmixer.data.dataset import Dataset, Split
from mlpmixer.data.label_sets import class_counts, label_sets_of
from mlpmixer.data.picture import UnreadableImage, decode, read_size
from mlpmixer.data.splits import ArraySplit

_CHUNK = 64  # images a thread takes at a time


@dataclass(frozen=True)
class UnreadableEntry:
    """An image that could not be read."""

    name: str
    reason: str


@dataclass(frozen=True)
class Sizes:
    """The sizes of the readable images of a split, upright, in pixels as (width, height)."""

    distinct: int
    """How many different sizes there are."""
    smallest: tuple[int, int]
    """The image of least area."""
    median: tuple[int, int]
    """The image of median area."""
    largest: tuple[int, int]
    """The image of greatest area."""
    common: tuple[tuple[int, int, int], ...]
    """Up to three most common sizes, with the number of images that have each."""


@dataclass(frozen=True)
class ClassesAnImage:
    """How many classes an image of a split has."""

    least: int
    mean: float
    most: int


@dataclass(frozen=True)
class SplitSummary:
    """One split."""

    images: int
    per_class: tuple[int, ...]
    """Images of each class, in the order of `DatasetSummary.class_names`; one of several classes
    counts for each of them."""
    classes_an_image: ClassesAnImage | None
    """None where each image has one alone."""
    sizes: Sizes | None
    """None where no image is readable."""
    unreadable: tuple[UnreadableEntry, ...]


@dataclass(frozen=True)
class DatasetSummary:
    """All splits."""

    spec: str
    class_names: tuple[str, ...]
    splits: Mapping[str, SplitSummary]
    verified: bool
    """Whether every image was decoded, so that `unreadable` is complete."""
    notes: tuple[str, ...]
    """What a reader should know of how the source was read."""
    passed_over: Mapping[str, int]
    """What was found and not taken, and how many of it."""

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain dictionaries and lists."""
        return asdict(self)


def summarize(
    dataset: Dataset,
    *,
    verify: bool = False,
    threads: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> DatasetSummary:
    """Return counts, sizes and unreadable images of each split.

    Of each image only the header is read, which finds what is no image at all. With `verify`,
    every image is decoded, which also finds damage further on and takes far longer.
    `progress` is called in this thread with the images done and the number of all.
    """
    total = sum(len(split) for split in dataset.splits.values())
    done = 0
    summaries = {}
    with ThreadPoolExecutor(threads) as pool:
        for name, split in dataset.splits.items():
            counts: Counter[tuple[int, int]] = Counter()
            unreadable: list[UnreadableEntry] = []
            for sizes, failures, images in _inspect(split, verify, pool):
                counts.update(sizes)
                unreadable += failures
                done += images
                if progress is not None:
                    progress(done, total)
            per_class = class_counts(split, len(dataset.class_names))
            summaries[name] = SplitSummary(
                images=len(split),
                per_class=tuple(per_class.tolist()),
                classes_an_image=_classes_an_image(split),
                sizes=_sizes(counts),
                unreadable=tuple(unreadable),
            )
    return DatasetSummary(
        dataset.spec, dataset.class_names, summaries, verify, dataset.notes, dataset.passed_over
    )


_Inspected = tuple[Counter[tuple[int, int]], list[UnreadableEntry], int]


def _inspect(split: Split, verify: bool, pool: ThreadPoolExecutor) -> Iterator[_Inspected]:
    """Yield the sizes, the failures and the number of images of one chunk after another."""
    if isinstance(split, ArraySplit):  # decoded and of one size
        height, width = split.images.shape[1:3]
        return iter([(Counter({(width, height): len(split)}), [], len(split))])

    def inspect(start: int) -> _Inspected:
        sizes: Counter[tuple[int, int]] = Counter()
        failures = []
        indices = range(start, min(start + _CHUNK, len(split)))
        for index in indices:
            try:
                size = decode(split, index).size if verify else read_size(split, index)
            except UnreadableImage as error:
                failures.append(UnreadableEntry(error.name, error.reason))
            else:
                sizes[size] += 1
        return sizes, failures, len(indices)

    return pool.map(inspect, range(0, len(split), _CHUNK))


def _classes_an_image(split: Split) -> ClassesAnImage | None:
    sets = label_sets_of(split)
    if sets is None:
        return None
    counts = sets.counts
    return ClassesAnImage(int(counts.min()), float(counts.mean()), int(counts.max()))


def _sizes(counts: Counter[tuple[int, int]]) -> Sizes | None:
    if not counts:
        return None
    by_area = sorted(counts, key=lambda size: (size[0] * size[1], size))
    reached = np.cumsum([counts[size] for size in by_area])
    common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:3]
    return Sizes(
        distinct=len(counts),
        smallest=by_area[0],
        median=by_area[int(np.searchsorted(reached, (reached[-1] + 1) // 2))],
        largest=by_area[-1],
        common=tuple((width, height, count) for (width, height), count in common),
    )
