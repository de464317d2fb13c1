"""What every data source gives: labelled, still encoded images with random access, by split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mlpmixer.errors import UsageError


class Split(Protocol):
    """Labelled images that are still encoded, with random access.

    A split can be pickled, so that worker processes read from it, and read from many threads.
    """

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class indices, (N,)."""
        ...

    def __len__(self) -> int:
        """Return the number of images, N."""
        ...

    def encoded(self, index: int) -> bytes | npt.NDArray[np.uint8]:
        """Return the image file's bytes, or its pixels (H, W, 3) where the source holds pixels.

        Raises OSError where the bytes cannot be read.
        """
        ...

    def name(self, index: int) -> str:
        """Return the path or key of an image, for messages."""
        ...


@dataclass(frozen=True)
class Dataset:
    """A data source that has been opened."""

    spec: str
    """What the user gave to --data."""
    class_names: tuple[str, ...]
    """The name of each class, in the order of the labels."""
    splits: Mapping[str, Split]
    """Those of "train", "validation" and "test" that the source has."""


class Subset:
    """The images of a split at the given indices, in that order."""

    def __init__(self, split: Split, indices: Sequence[int] | npt.NDArray[np.int64]) -> None:
        self.split = split
        self.indices = np.asarray(indices, dtype=np.int64)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class indices, (N,)."""
        return self.split.labels[self.indices]

    def __len__(self) -> int:
        """Return the number of images, N."""
        return len(self.indices)

    def encoded(self, index: int) -> bytes | npt.NDArray[np.uint8]:
        """Return the image's bytes or pixels as the underlying split holds them."""
        return self.split.encoded(int(self.indices[index]))

    def name(self, index: int) -> str:
        """Return the image's name in the underlying split."""
        return self.split.name(int(self.indices[index]))


def hold_out_validation(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """Return `dataset` with a part of its training images as validation split.

    The choice is random by `seed` and stratified: each class gives `fraction` of its images,
    rounded, but at least one, and keeps at least one for training. A class with a single image
    keeps it for training. Both parts keep the order of the source.

    Raises UsageError where there is no training split, no class can give an image, or `fraction`
    is not between 0 and 1.
    """
    if "validation" in dataset.splits:
        raise ValueError(f"{dataset.spec} has a validation split already")
    if not 0 < fraction < 1:
        raise UsageError(
            f"cannot hold out {fraction} of the training images for validation: "
            "give a fraction between 0 and 1, such as 0.1."
        )
    if "train" not in dataset.splits:
        raise UsageError(f"{dataset.spec} has no training images to hold out a validation set of.")
    train = dataset.splits["train"]
    labels = train.labels
    generator = np.random.default_rng(seed)
    held_out = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        if len(members) >= 2:
            count = min(max(round(fraction * len(members)), 1), len(members) - 1)
            held_out[members[:count]] = True
    if not held_out.any():
        raise UsageError(
            f"cannot hold out validation images of {dataset.spec}: every class has only one "
            "image. Add images, or a validation/ folder."
        )
    splits = {
        "train": Subset(train, np.flatnonzero(~held_out)),
        "validation": Subset(train, np.flatnonzero(held_out)),
        **{name: split for name, split in dataset.splits.items() if name != "train"},
    }
    return replace(dataset, splits=splits)
