"""What was taken for what. Only the pairs that occur are kept, so many classes cost nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

MOST_AS_MATRIX = 300
"""Classes up to which the JSON form is the whole matrix; above, only the pairs that occur."""


@dataclass(frozen=True)
class ConfusedPair:
    """How often images of one class were taken for another."""

    true: int
    predicted: int
    count: int
    share: float
    """Of the true class's images, in [0, 1]."""


@dataclass(frozen=True)
class Confusion:
    """Counts of (true class, predicted class), right answers included, over K classes.

    The pairs are sorted by true, then by predicted class, and each occurs once.
    """

    classes: int
    true: NDArray[np.int64]  # (P,)
    predicted: NDArray[np.int64]  # (P,)
    counts: NDArray[np.int64]  # (P,), each above 0

    @classmethod
    def count(cls, true: ArrayLike, predicted: ArrayLike, classes: int) -> Self:
        """Count the pairs of true and predicted classes, both (N,)."""
        keys = np.asarray(true, np.int64) * classes + np.asarray(predicted, np.int64)
        pairs, counts = np.unique(keys, return_counts=True)
        return cls(classes, pairs // classes, pairs % classes, counts)

    @classmethod
    def from_matrix(cls, matrix: ArrayLike) -> Self:
        """Take the counts of a matrix (K, K): true classes are rows, predicted ones columns."""
        counts = np.asarray(matrix, np.int64)
        true, predicted = counts.nonzero()
        return cls(len(counts), true, predicted, counts[true, predicted])

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what `to_json` returned.

        Raises:
            KeyError, TypeError, ValueError: it has another form.
        """
        if not isinstance(value, Mapping):
            return cls.from_matrix(value)
        pairs = (np.array(value[name], np.int64) for name in ("true", "predicted", "count"))
        return cls(int(value["classes"]), *pairs)

    def to_json(self) -> Any:
        """Return plain values: up to MOST_AS_MATRIX classes the matrix as a list of its rows.

        Above, {"classes": K, "true": […], "predicted": […], "count": […]}: the class indices and
        the count of each pair that occurs, three lists of one length.
        """
        if self.classes <= MOST_AS_MATRIX:
            return self.matrix().tolist()
        return {
            "classes": self.classes,
            "true": self.true.tolist(),
            "predicted": self.predicted.tolist(),
            "count": self.counts.tolist(),
        }

    @property
    def correct(self) -> NDArray[np.int64]:
        """Images of each class that were classified rightly, (K,)."""
        right = self.true == self.predicted
        return self._by_class(self.true[right], self.counts[right])

    @property
    def total(self) -> NDArray[np.int64]:
        """Images of each class, (K,)."""
        return self._by_class(self.true, self.counts)

    def matrix(self) -> NDArray[np.int64]:
        """Return the counts (K, K): true classes are rows, predicted ones columns."""
        made = np.zeros((self.classes, self.classes), np.int64)
        made[self.true, self.predicted] = self.counts
        return made

    def mistakes(self) -> Self:
        """Return the pairs of different classes alone."""
        wrong = self.true != self.predicted
        return type(self)(self.classes, self.true[wrong], self.predicted[wrong], self.counts[wrong])

    def most_confused(self, limit: int) -> list[ConfusedPair]:
        """Return the most frequent mistakes, the most frequent first."""
        wrong, total = self.mistakes(), self.total
        return [
            ConfusedPair(int(true), int(predicted), int(count), int(count) / int(total[true]))
            for true, predicted, count in (
                (wrong.true[i], wrong.predicted[i], wrong.counts[i])
                for i in np.argsort(-wrong.counts, kind="stable")[:limit]
            )
        ]

    def _by_class(self, classes: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
        sums = np.zeros(self.classes, np.int64)
        np.add.at(sums, classes, counts)
        return sums
