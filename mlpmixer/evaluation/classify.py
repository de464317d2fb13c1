"""How well a model classifies, counted batch by batch: no array of images by classes is kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlpmixer.data.batches import ImagesInOrder
from mlpmixer.errors import MixerError
from mlpmixer.evaluation.forward import BATCH_SIZE, Answers, Forward, logits, mirrored_logits
from mlpmixer.measures.calibration import Calibration
from mlpmixer.measures.confusion import Confusion
from mlpmixer.measures.metrics import METRICS, ScoredBatch, true_labels
from mlpmixer.models.interface import ImageModel
from mlpmixer.runtime import Runtime

SEVERAL_CLASSES = (
    "images have several classes: an answer is right where it is one of them, and every measure "
    "takes as true the one of them that the model finds most probable"
)


class NotFinite(MixerError):
    """A model answers with what is no number, as it does whose training has diverged."""

    def __init__(self) -> None:
        super().__init__(
            "the model's answers are not finite numbers: its weights have grown out of bounds. "
            "Train it again with a lower --learning-rate."
        )


@dataclass(frozen=True)
class Predictions:
    """What a model says of N images."""

    predicted: NDArray[np.int64]
    """(N,), the most probable class."""
    confidence: NDArray[np.float32]
    """(N,), its probability in [0, 1]: by softmax or sigmoid, as the model was trained."""
    labels: NDArray[np.int64]
    """(N,), the truth; of several classes, the one that the model prefers."""
    indices: NDArray[np.int64]
    """(N,), positions in the split; unreadable images are left out."""

    def surest_mistakes(self, most: int) -> NDArray[np.intp]:
        """Return the rows of the wrong predictions of highest confidence, the surest first."""
        wrong = np.flatnonzero(self.predicted != self.labels)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")][:most]


@dataclass(frozen=True)
class Evaluation:
    """The measures of a model on a labelled split."""

    predictions: Predictions
    metrics: dict[str, float]
    """The values of `measures.metrics.METRICS`, by their names there."""
    calibration: Calibration
    confusion: Confusion
    images_per_second: float
    """Speed of preparing, classifying and counting."""

    @property
    def images(self) -> int:
        """How many images were classified, N."""
        return len(self.predictions.labels)

    @property
    def top1(self) -> float:
        """The accuracy, in [0, 1]."""
        return self.metrics["top1"]

    @property
    def per_class(self) -> NDArray[np.float64]:
        """Accuracy on the images of each class, (K,); NaN where it has none."""
        counts = self.confusion.total
        nothing = np.full(len(counts), np.nan)
        return np.divide(self.confusion.correct, counts, out=nothing, where=counts > 0)

    def to_json(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Return the measures as plain values, classes by name."""
        per_class = {
            name: None if np.isnan(accuracy) else float(accuracy)
            for name, accuracy in zip(class_names, self.per_class, strict=True)
        }
        return {
            "images": self.images,
            **self.metrics,
            "mean_confidence": self.calibration.mean_confidence,
            "images_per_second": self.images_per_second,
            "per_class": per_class,
            "confusion": self.confusion.to_json(),
        }


def classify(
    model: ImageModel,
    images: ImagesInOrder,
    runtime: Runtime,
    *,
    allowed: Sequence[Sequence[int]] | None = None,
    flip: bool = False,
    batch_size: int = BATCH_SIZE,
    on_progress: Callable[[float], None] | None = None,
) -> Evaluation:
    """Classify all images of a split, and count how well.

    Args:
        model: any model of `create_model`, on the runtime's device; left in evaluation mode.
        images: the images, as stored.
        runtime: where to run, and in which precision.
        allowed: the classes that count as right for each image of the split, readable or not,
            as in ImageNet's "ReaL" labels (https://arxiv.org/abs/2006.07159).
        flip: average the probabilities over each image and its mirror image, at twice the time.
        batch_size: images a step.
        on_progress: called with the share done, in [0, 1].

    Raises:
        UsageError: there is no readable image.
        NotFinite: an answer is no number.
    """
    rows = _Rows(len(images), runtime.device)
    sums: dict[str, Tensor] = {}
    output = mirrored_logits if flip else logits
    forward = Forward(
        model, images, runtime, output, batch_size=batch_size, on_progress=on_progress
    )
    for answers in forward:
        _need_numbers(answers.values)
        batch = _scored(model, answers, allowed)
        rows.add(batch, answers.indices)
        for name, metric in METRICS.items():
            if (added := metric.sums(batch)) is None:
                continue
            if name in sums:
                sums[name] += added
            else:
                sums[name] = added.clone()
    totals = {name: one.cpu().double().numpy() for name, one in sums.items()}
    predictions = rows.predictions()
    assert forward.images_per_second is not None
    return Evaluation(
        predictions,
        {name: METRICS[name].value(total) for name, total in totals.items()},
        Calibration.from_sums(totals["expected_calibration_error"]),
        Confusion.count(predictions.labels, predictions.predicted, model.num_classes),
        forward.images_per_second,
    )


def accuracy(
    model: ImageModel, images: ImagesInOrder, runtime: Runtime, *, batch_size: int = BATCH_SIZE
) -> float:
    """Return the share of images whose most probable class is the true one, in [0, 1].

    Of images of several classes, is one of them.

    Raises:
        UsageError: there is no readable image.
        NotFinite: an answer is no number.
    """
    right = torch.zeros((), dtype=torch.int64, device=runtime.device)
    seen = 0
    for answers in Forward(model, images, runtime, batch_size=batch_size):
        _need_numbers(answers.values)
        predicted = answers.values.argmax(dim=1)
        right += (predicted == true_labels(answers.values, answers.labels)).sum()
        seen += len(answers.labels)
    return int(right) / seen


def _need_numbers(values: Tensor) -> None:
    if not bool(values.isfinite().all()):
        raise NotFinite()


class _Rows:
    """What is kept of each image.

    The room is taken before the first batch. Small blocks that come to lie between the large ones
    of the batches would keep the system's allocator from using the large ones again: the memory of
    the process then grows with images times classes though none of that is kept.
    """

    def __init__(self, most: int, device: torch.device) -> None:
        self.predicted = torch.empty(most, dtype=torch.int64, device=device)
        self.confidence = torch.empty(most, dtype=torch.float32, device=device)
        self.labels = torch.empty(most, dtype=torch.int64, device=device)
        self.indices = torch.empty(most, dtype=torch.int64)
        self.count = 0

    def add(self, batch: ScoredBatch, indices: Tensor) -> None:
        new = slice(self.count, self.count + len(indices))
        self.predicted[new] = batch.predicted
        self.confidence[new] = batch.confidence
        self.labels[new] = batch.labels
        self.indices[new] = indices
        self.count = new.stop

    def predictions(self) -> Predictions:
        columns = (self.predicted, self.confidence, self.labels, self.indices)
        return Predictions(*(column[: self.count].cpu().numpy() for column in columns))


@torch.inference_mode()
def _scored(
    model: ImageModel, answers: Answers, allowed: Sequence[Sequence[int]] | None
) -> ScoredBatch:
    return ScoredBatch(
        answers.values,
        model.probabilities(answers.values),
        true_labels(answers.values, answers.labels),
        None if allowed is None else [allowed[index] for index in answers.indices.tolist()],
    )
