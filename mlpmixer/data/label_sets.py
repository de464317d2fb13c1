"""Several right classes for one image, as JFT has them: all of a split in two arrays.

A split of such images has them as `label_sets` beside its `labels`, which then are the first class
of each image: by them images are dealt evenly where one class has to stand for an image.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from mlpmixer.data.dataset import Dataset, Split
from mlpmixer.errors import UsageError

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LabelSets:
    """The classes of N images, one image after another; each has at least one, none twice."""

    classes: Indices
    """Class indices, (M,)."""
    ends: Indices
    """Where the classes of each image end, (N,)."""

    @classmethod
    def of(cls, classes: Indices, counts: Indices) -> "LabelSets":
        """Return the sets of images with `counts` (N,) of the `classes` (M,); repeats are left out.

        Raises ValueError where an image has none.
        """
        if len(counts) and counts.min() < 1:
            raise ValueError("an image has no class")
        image = np.repeat(np.arange(len(counts)), counts)
        key = image * (int(classes.max(initial=0)) + 1) + classes
        kept = np.sort(np.unique(key, return_index=True)[1])
        return cls(classes[kept], np.bincount(image[kept], minlength=len(counts)).cumsum())

    def __len__(self) -> int:
        """Return the number of images, N."""
        return len(self.ends)

    @property
    def counts(self) -> Indices:
        """How many classes each image has, (N,)."""
        return np.diff(self.ends, prepend=0)

    @property
    def first(self) -> Indices:
        """The first class of each image, (N,)."""
        return self.classes[self.ends - self.counts]

    @property
    def images(self) -> Indices:
        """Which image each of `classes` belongs to, (M,)."""
        return np.repeat(np.arange(len(self)), self.counts)

    def of_image(self, index: int) -> list[int]:
        """Return the classes of one image, in their order."""
        begin = int(self.ends[index - 1]) if index else 0
        classes: list[int] = self.classes[begin : int(self.ends[index])].tolist()
        return classes

    def take(self, indices: Indices) -> "LabelSets":
        """Return the sets of the images at `indices` (n,), in that order."""
        counts, ends = self.counts[indices], self.ends[indices]
        new_ends = counts.cumsum()
        shift = np.repeat(ends - new_ends, counts)
        return LabelSets(self.classes[np.arange(len(shift)) + shift], new_ends)

    def renumbered(self, table: Indices) -> "LabelSets":
        """Return the sets with each class replaced by its entry in `table` (K,)."""
        return LabelSets(table[self.classes], self.ends)

    def padded(self, indices: Indices) -> Indices:
        """Return the classes of the images at `indices` (n,) as (n, L), for the longest of them.

        Shorter rows are filled up with their first class.
        """
        ends = self.ends[indices]
        begins = np.where(indices > 0, self.ends[indices - 1], 0)
        place = np.arange((ends - begins).max(initial=1))
        there = place < (ends - begins)[:, None]
        return self.classes[begins[:, None] + np.where(there, place, 0)]


@runtime_checkable
class MultiLabel(Protocol):
    """A split whose images may have several classes."""

    @property
    def label_sets(self) -> LabelSets | None:
        """The classes of each image; None where all have one alone."""
        ...


def label_sets_of(split: Split) -> LabelSets | None:
    """Return the classes of a split's images; None where each has one alone."""
    return split.label_sets if isinstance(split, MultiLabel) else None


def is_multi_label(dataset: Dataset) -> bool:
    """Tell whether images of a data set may have several classes."""
    return any(label_sets_of(split) is not None for split in dataset.splits.values())


ONE_CLASS_A_SHOT = "and few-shot probes draw their shots by one class an image"


def need_one_label(dataset: Dataset, who: str, remedy: str) -> None:
    """Raise UsageError where images have several classes; `who` needs one alone."""
    if is_multi_label(dataset):
        raise UsageError(f"{dataset.spec} has images of several classes, {who}: {remedy}.")


def class_counts(split: Split, classes: int) -> Indices:
    """Return the images of each class, (K,); an image of several counts for each of them."""
    sets = label_sets_of(split)
    return np.bincount(split.labels if sets is None else sets.classes, minlength=classes)


def members(split: Split, label: int) -> Indices:
    """Return the images of a class, ascending."""
    sets = label_sets_of(split)
    if sets is None:
        return np.flatnonzero(split.labels == label)
    return np.searchsorted(sets.ends, np.flatnonzero(sets.classes == label), side="right")


@dataclass(frozen=True)
class SplitLabels:
    """What a source knows of the classes of a split's images."""

    labels: Indices
    """The first or only one of each, (N,)."""
    sets: LabelSets | None = None
    """All of them; None where no image of the source has several."""


def by_image(
    classes: Mapping[str, Indices], counts: Mapping[str, Indices]
) -> dict[str, SplitLabels]:
    """Return the labels of each split, from all `classes` (M,) and how many each image has, (N,).

    Data is multi-label where an image of any split has more than one class.
    """
    sets = {split: LabelSets.of(classes[split], counts[split]) for split in classes}
    if all(len(one.classes) == len(one) for one in sets.values()):
        return {split: SplitLabels(one.classes) for split, one in sets.items()}
    return {split: SplitLabels(one.first, one) for split, one in sets.items()}
