"""Validation images taken from the training images of a source that has none."""

from dataclasses import replace

import numpy as np

from mlpmixer.data.by_class import indices_by_class
from mlpmixer.data.dataset import Dataset
from mlpmixer.data.splits import Subset
from mlpmixer.errors import UsageError


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
    for _, indices in indices_by_class(labels):
        members = generator.permutation(indices)
        if len(members) >= 2:
            count = min(max(round(fraction * len(members)), 1), len(members) - 1)
            held_out[members[:count]] = True
    if not held_out.any():
        raise UsageError(
            f"cannot hold out validation images of {dataset.spec}: every class has only one "
            "image. Add images, or hold none out by --validation-fraction 0."
        )
    splits = {
        "train": Subset(train, np.flatnonzero(~held_out)),
        "validation": Subset(train, np.flatnonzero(held_out)),
        **{name: split for name, split in dataset.splits.items() if name != "train"},
    }
    return replace(dataset, splits=splits)
