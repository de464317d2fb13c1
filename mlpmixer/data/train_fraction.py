"""A share of the training images: shares are nested, and balanced over the classes."""

import math
from dataclasses import replace

import numpy as np

from mlpmixer.data.by_class import indices_by_class
from mlpmixer.data.dataset import Dataset
from mlpmixer.data.splits import Subset
from mlpmixer.errors import UsageError


def keep_share(dataset: Dataset, share: float, seed: int) -> Dataset:
    """Return `dataset` with a share of its training images; its other splits stay.

    Each class gives that share of its images, rounded, and at least one. The seed chooses them, and
    a smaller share is always part of a larger one, so that subsets differ in size alone.

    Args:
        dataset: has training images.
        share: in (0, 1]; 1 keeps all.
        seed: of the choice.

    Raises:
        UsageError: the share is outside (0, 1], or leaves fewer images than there are classes.
    """
    if not 0 < share <= 1:
        raise UsageError(f"a share of {share:g} of the training images is outside (0, 1].")
    if share == 1:
        return dataset
    train = dataset.splits["train"]
    labels = train.labels
    members_of = list(indices_by_class(labels))
    if round(share * len(labels)) < len(members_of):
        enough = math.ceil(len(members_of) / len(labels) * 1e4) / 1e4
        raise UsageError(
            f"{share:g} of the {len(labels):,} training images of {dataset.spec} are fewer than "
            f"its {len(members_of)} classes: use {enough:g} or more."
        )
    chosen = []
    for label, indices in members_of:
        members = np.random.default_rng((seed, label)).permutation(indices)
        chosen.append(members[: max(1, round(share * len(members)))])
    kept = Subset(train, np.sort(np.concatenate(chosen)))
    return replace(dataset, splits={**dataset.splits, "train": kept})
