"""The few-shot probe: how much a frozen representation knows, with a few images a class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlpmixer.data.by_class import indices_by_class
from mlpmixer.errors import UsageError
from mlpmixer.evaluation.ridge import FIXED_STRENGTH, STRENGTHS, fit
from mlpmixer.randomness import generator

SHOTS = (1, 5, 10, 25)
SEEDS = 3
_ROWS = 4096  # images scored at a time: their scores for many classes fill the memory


@dataclass(frozen=True)
class FewShotResult:
    """Accuracies for every number of shots, seed and strength; shares are in [0, 1]."""

    shots: tuple[int, ...]
    strengths: tuple[float, ...]
    accuracy: NDArray[np.float64]
    """(shots, seeds, strengths), on the test images."""

    @property
    def best_strength(self) -> NDArray[np.int64]:
        """Index of the strength with the best mean over the seeds, for every number of shots.

        The choice is made on the test images: one of few values, the same for all seeds. So `mean`
        is a little too good; `at_fixed_strength` is free of any choice.
        """
        return self.accuracy.mean(axis=1).argmax(axis=1)

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean over the seeds at the best strength, (shots,)."""
        return self._best().mean(axis=1)

    @property
    def spread(self) -> NDArray[np.float64]:
        """Standard deviation over the seeds at the best strength, (shots,)."""
        return self._best().std(axis=1)

    @property
    def at_fixed_strength(self) -> NDArray[np.float64] | None:
        """Mean over the seeds at the authors' strength, (shots,); None where it was not tried."""
        if FIXED_STRENGTH not in self.strengths:
            return None
        return self.accuracy[:, :, self.strengths.index(FIXED_STRENGTH)].mean(axis=1)

    def _best(self) -> NDArray[np.float64]:
        rows = zip(self.accuracy, self.best_strength, strict=True)
        return np.stack([row[:, best] for row, best in rows])  # (shots, seeds)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        fixed = self.at_fixed_strength
        return {
            "shots": list(self.shots),
            "accuracy": self.mean.tolist(),
            "spread": self.spread.tolist(),
            "best_strength": [self.strengths[index] for index in self.best_strength],
            "fixed_strength": FIXED_STRENGTH,
            "accuracy_at_fixed_strength": None if fixed is None else fixed.tolist(),
            "strengths": list(self.strengths),
            "all": self.accuracy.tolist(),
        }


def _members(labels: Tensor, num_classes: int) -> list[Tensor]:
    """Return the indices of the images of each class."""
    found = {label: torch.from_numpy(rows) for label, rows in indices_by_class(labels.numpy())}
    nothing = torch.empty(0, dtype=torch.int64)
    return [found.get(label, nothing) for label in range(num_classes)]


def _draw(members_of: Sequence[Tensor], shots: int, seed: int) -> Tensor:
    chosen = []
    for label, members in enumerate(members_of):
        if not len(members):
            raise UsageError(
                f"class {label} has no training image to draw: give it some, or take it out of "
                "the data."
            )
        if len(members) < shots:
            raise UsageError(
                f"class {label} has {len(members)} training images, fewer than {shots} shots. "
                f"Use --shots {len(members)} or less."
            )
        order = torch.randperm(len(members), generator=generator(seed, "support", label))
        chosen.append(members[order[:shots]])
    return torch.cat(chosen)


SupportSets = Mapping[tuple[int, int], Tensor]
"""Indices of support images, by number of shots and seed."""


def support_sets(
    labels: Tensor, num_classes: int, shots: Sequence[int] = SHOTS, seeds: int = SEEDS
) -> SupportSets:
    """Draw every support set of a probe: so many images of every class, chosen by the seed.

    Fewer shots of one seed are part of more shots.

    Args:
        labels: of the images to draw from, (N,); an image with a label of -1 is never drawn.
        num_classes: number of classes.
        shots: images a class, each probed by itself.
        seeds: support sets drawn for each number of shots.

    Raises:
        UsageError: shots or seeds are not positive, or a class has too few images.
    """
    if min(shots, default=0) < 1 or seeds < 1:
        raise UsageError("shots and seeds must be positive.")
    members_of = _members(labels, num_classes)
    return {
        (count, seed): _draw(members_of, count, seed) for count in shots for seed in range(seeds)
    }


def few_shot(
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    num_classes: int,
    supports: SupportSets,
    strengths: Sequence[float] = STRENGTHS,
) -> FewShotResult:
    """Probe a representation.

    Args:
        train: features (N, D) and labels (N,) that the support sets point into.
        test: features (T, D) and labels (T,) that accuracy is measured on.
        num_classes: number of classes.
        supports: from `support_sets`, the same seeds for every number of shots.
        strengths: of the L2 regularisation.

    Raises:
        UsageError: a strength is not positive.
    """
    if min(strengths, default=0) <= 0:
        raise UsageError("strengths must be positive.")
    (features, labels), (probed, truth) = train, test
    accuracies = {}
    for drawn, chosen in supports.items():
        sweep = fit(features[chosen], labels[chosen], num_classes, strengths)
        hits = torch.zeros(len(strengths), dtype=torch.int64)
        for part, right in zip(probed.split(_ROWS), truth.split(_ROWS), strict=True):
            predicted = torch.stack([scores.argmax(1) for scores in sweep.scores(part)])
            hits += (predicted == right).sum(dim=1)
        accuracies[drawn] = (hits.double() / len(truth)).tolist()
    shots = tuple(dict.fromkeys(count for count, _ in supports))
    accuracy = np.array([[a for (n, _), a in accuracies.items() if n == count] for count in shots])
    return FewShotResult(shots, tuple(strengths), accuracy)
