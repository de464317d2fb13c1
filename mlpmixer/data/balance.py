"""Classes of unequal size: drawn equally often, or weighted so that each counts the same.

Both minimise the same expected loss, in which every class has the same share. Drawing shows the
images of small classes many times an epoch and those of large ones seldom; weights keep every image
at once an epoch, at the price of gradients that vary more from batch to batch.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mlpmixer.data.batches import steps_per_epoch
from mlpmixer.data.by_class import indices_by_class
from mlpmixer.data.dataset import Split
from mlpmixer.data.splits import Subset
from mlpmixer.formatting import number
from mlpmixer.randomness import derived_seed

UNEQUAL = 3.0
"""Images of the largest class over those of the smallest from which on it is remarked."""

Labels = npt.NDArray[np.int64]


class EvenClasses(Subset):
    """A whole split, whose classes a training draws equally often."""

    def __init__(self, split: Split) -> None:
        super().__init__(split, np.arange(len(split)))


def balanced_order(labels: Labels, batch_size: int, seed: int, first_step: int) -> Iterator[Tensor]:
    """Yield the indices (batch_size,) of every batch from `first_step` on, without end.

    The positions of all batches, one after the other, fall into rounds, in which each class that
    has images comes once, in an order drawn anew. A class gives its images in turn, shuffled anew
    in each pass over them. So what stands at a position follows from it and the seed alone.

    Args:
        labels: class indices of the images, (N,).
        batch_size: images a step; an epoch is N // batch_size steps.
        seed: of the order.
        first_step: the step to begin at.

    Raises:
        UsageError: the batch is larger than the data.
    """
    steps_per_epoch(len(labels), batch_size)
    members = [(label, indices) for label, indices in indices_by_class(labels)]
    passes: dict[int, tuple[int, Labels]] = {}

    def drawn(place: int, turn: int) -> int:
        """Return the image that a class, by its place among those there are, gives in a round."""
        label, indices = members[place]
        nth, position = divmod(turn, len(indices))
        if passes.get(place, (-1, indices))[0] != nth:
            chance = np.random.default_rng(derived_seed(seed, "class", label, nth))
            passes[place] = nth, chance.permutation(indices)
        return int(passes[place][1][position])

    turn, done = divmod(first_step * batch_size, len(members))
    batch: list[int] = []
    while True:
        chance = np.random.default_rng(derived_seed(seed, "round", turn))
        for place in chance.permutation(len(members))[done:].tolist():
            batch.append(drawn(place, turn))
            if len(batch) == batch_size:
                yield torch.tensor(batch)
                batch = []
        turn, done = turn + 1, 0


def class_weights(labels: Labels, num_classes: int) -> npt.NDArray[np.float64]:
    """Return what an image of each class counts, (num_classes,): inversely to its frequency.

    The mean over all images is 1, so that learning rates keep their meaning. A class without images
    counts 1.

    Args:
        labels: class indices of the training images, (N,).
        num_classes: K, the number of logits.
    """
    counts = np.bincount(labels, minlength=num_classes)
    present = counts > 0
    weights = np.ones(num_classes)
    weights[present] = len(labels) / (present.sum() * counts[present])
    return weights


def remark(labels: Labels, class_names: Sequence[str], balance: str) -> str:
    """Return in a sentence how unequal the classes are and what is done about it; "" if little.

    Args:
        labels: class indices of the training images, (N,).
        class_names: of all classes, (K,).
        balance: as the recipe has it.
    """
    counts = np.bincount(labels, minlength=len(class_names))
    present = np.flatnonzero(counts)
    least, most = (int(present[pick(counts[present])]) for pick in (np.argmin, np.argmax))
    if counts[most] < UNEQUAL * counts[least]:
        return ""
    sizes = (
        f"classes have {counts[least]:,} ({class_names[least]}) to {counts[most]:,} "
        f"({class_names[most]}) training images"
    )
    if balance == "sampling":
        return f"{sizes}; each class is drawn equally often"
    if balance == "weights":
        weights = class_weights(labels, len(class_names))
        ends = f"{number(float(weights[most]))} to {number(float(weights[least]))}"
        return f"{sizes}; an image counts {ends} times, so that each class counts the same"
    return f"{sizes}; --balance sampling or --balance weights lets each class count the same"
