"""The metrics of a classifier, each declared once.

The command's output, evaluation.json, the report page and the model card go through `METRICS`: one
entry more here is one line more in each of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlpmixer.formatting import percent
from mlpmixer.measures.calibration import Calibration, calibration_sums
from mlpmixer.measures.intervals import wilson_interval

Sums = NDArray[np.float64]


@dataclass(frozen=True)
class ScoredBatch:
    """A model's answers for B images, as metrics count them; tensors lie on one device."""

    logits: Tensor
    """float32 (B, K)."""
    probabilities: Tensor
    """float32 (B, K) in [0, 1]: by softmax or sigmoid, as the model was trained."""
    labels: Tensor
    """int64 (B,), the true classes; of several, the one that `true_labels` chooses."""
    allowed: Sequence[Sequence[int]] | None = None
    """The classes that count as right for each image, where several do."""

    @cached_property
    def predicted(self) -> Tensor:
        """The class with the largest logit, (B,): probabilities can be rounded to a draw."""
        return self.logits.argmax(dim=1)

    @cached_property
    def confidence(self) -> Tensor:
        """The probability of the predicted class, (B,)."""
        return self.probabilities.gather(1, self.predicted[:, None])[:, 0]

    @cached_property
    def right(self) -> Tensor:
        """Whether the predicted class is the true one, (B,)."""
        return self.predicted == self.labels

    @cached_property
    def rank(self) -> Tensor:
        """How many classes are preferred to the true one, (B,); of equals the first wins."""
        truth = self.labels[:, None]
        score = self.logits.gather(1, truth)
        better = (self.logits > score).sum(dim=1)
        numbers = torch.arange(self.logits.shape[1], device=truth.device)
        return better + ((self.logits == score) & (numbers < truth)).sum(dim=1)


def true_labels(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the class that counts as true for each image, (B,).

    Args:
        logits: (B, K).
        labels: int64 (B,); or (B, L) where images have several classes, of which the one with the
            largest logit counts: so an answer is right where it is one of them, and the accuracy is
            precision at 1.
    """
    if labels.ndim == 1:
        return labels
    best = labels.gather(1, logits.gather(1, labels).argmax(dim=1, keepdim=True))[:, 0]
    predicted = logits.argmax(dim=1)
    return torch.where((labels == predicted[:, None]).any(dim=1), predicted, best)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """How one number about a classifier is counted and shown."""

    title: str
    """What a reader sees, beginning with a small letter."""
    sentence: str
    """What the number means, in one sentence."""
    sums: Callable[[ScoredBatch], Tensor | None]
    """What a batch adds; None where the metric does not apply. Sums of batches are added up."""
    value: Callable[[Sums], float]
    """The metric from the sums of all batches, float64."""
    show: Callable[[float], str]
    """The value as text."""
    higher_is_better: bool
    is_share: bool = False
    """A share of the images, in [0, 1], so that an interval can be given."""
    above_classes: int = 0
    """With no more classes than this the number says nothing, and is not shown."""


def _share(sums: Sums) -> float:
    """Return hits divided by images, of sums (2,)."""
    return float(sums[0] / max(1.0, sums[1]))


def _hits(right: Tensor) -> Tensor:
    return torch.stack([right.sum(), right.new_full((), len(right), dtype=torch.int64)])


def _multi_label_hits(batch: ScoredBatch) -> Tensor | None:
    if batch.allowed is None:
        return None
    rows = zip(batch.predicted.tolist(), batch.allowed, strict=True)
    hits = [predicted in allowed for predicted, allowed in rows if allowed]
    return torch.tensor([sum(hits), len(hits)])


def _by_class(batch: ScoredBatch) -> Tensor:
    """Return the right answers and the images of each class, (2, K)."""
    classes = batch.logits.shape[1]
    rows = (batch.labels[batch.right], batch.labels)
    return torch.stack([torch.bincount(labels, minlength=classes) for labels in rows])


def _mean_share(sums: Sums) -> float:
    """Return the mean of hits over images of the classes that have some, of sums (2, K)."""
    hits, images = sums[:, sums[1] > 0]
    return float((hits / images).mean())


def _two_digits(share: float) -> str:
    return percent(share, 2)


METRICS: dict[str, Metric] = {
    "top1": Metric(
        title="accuracy",
        sentence="The share of the images whose most probable class is the true one.",
        sums=lambda batch: _hits(batch.right),
        value=_share,
        show=_two_digits,
        higher_is_better=True,
        is_share=True,
    ),
    "top5": Metric(
        title="top-5 accuracy",
        sentence="The share of the images whose true class is among the five most probable.",
        sums=lambda batch: _hits(batch.rank < 5),
        value=_share,
        show=_two_digits,
        higher_is_better=True,
        is_share=True,
        above_classes=5,
    ),
    "mean_class_accuracy": Metric(
        title="mean accuracy of the classes",
        sentence="The accuracy on the images of each class, averaged over the classes: a rare one "
        "counts as much as a frequent one.",
        sums=_by_class,
        value=_mean_share,
        show=_two_digits,
        higher_is_better=True,
    ),
    "multi_label_accuracy": Metric(
        title="multi-label accuracy",
        sentence="The share of the images whose most probable class is one of those that count "
        "as right; images without any are left out.",
        sums=_multi_label_hits,
        value=_share,
        show=_two_digits,
        higher_is_better=True,
    ),
    "expected_calibration_error": Metric(
        title="expected calibration error",
        sentence="How far the probability of the predicted class is from how often it is right, "
        "on average.",
        sums=lambda batch: calibration_sums(batch.confidence, batch.right),
        value=lambda sums: Calibration.from_sums(sums).expected_error,
        show=_two_digits,
        higher_is_better=False,
    ),
}
"""By the name that JSON files use, in the order in which they are shown."""


def shown(values: Mapping[str, float], classes: int) -> list[tuple[str, Metric, float]]:
    """Return the metrics that have a value and say something with so many classes, in order."""
    return [
        (name, metric, float(values[name]))
        for name, metric in METRICS.items()
        if values.get(name) is not None and classes > metric.above_classes
    ]


def interval(metric: Metric, value: float, images: int) -> tuple[float, float] | None:
    """Return the 95 % interval of a share of `images`, in [0, 1]; None for other metrics."""
    return wilson_interval(round(value * images), images) if metric.is_share else None


def in_words(metric: Metric, value: float, images: int) -> str:
    """Return a value as text, that of a share of `images` with its 95 % interval."""
    ends = interval(metric, value, images)
    if ends is None:
        return metric.show(value)
    return f"{metric.show(value)} (95 % interval {percent(ends[0])} to {percent(ends[1])})"
