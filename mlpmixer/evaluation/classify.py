"""How well a model classifies, and whether its probabilities can be trusted."""

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from mlpmixer.data.augment import prepare
from mlpmixer.data.batches import Images
from mlpmixer.data.dataset import Split
from mlpmixer.errors import UsageError
from mlpmixer.models.interface import ImageModel
from mlpmixer.runtime import autocast

CALIBRATION_BINS = 15
_IMAGENET_NUMBER = re.compile(r"ILSVRC2012_val_(\d{8})")


@dataclass(frozen=True)
class Predictions:
    """What a model says of N images."""

    probabilities: NDArray[np.float32]
    """(N, K); each row sums to 1."""
    labels: NDArray[np.int64]
    """(N,), the truth."""
    indices: NDArray[np.int64]
    """(N,), positions in the split; unreadable images are left out."""
    images_per_second: float
    """Speed of preparing and classifying, the first batch left out where there are several."""

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable class of each image, (N,)."""
        return self.probabilities.argmax(axis=1)


@dataclass(frozen=True)
class Calibration:
    """Confidence against accuracy, in bins of equal width (https://arxiv.org/abs/1706.04599)."""

    counts: NDArray[np.int64]  # (bins,) images
    confidence: NDArray[np.float64]  # (bins,) mean in [0, 1]; 0 where a bin is empty
    accuracy: NDArray[np.float64]  # (bins,) share in [0, 1]; 0 where a bin is empty

    @property
    def expected_error(self) -> float:
        """The expected calibration error (ECE) in [0, 1]."""
        gaps = np.abs(self.confidence - self.accuracy)
        return float((self.counts * gaps).sum() / max(1, self.counts.sum()))


@dataclass(frozen=True)
class Evaluation:
    """The measures of a model on a labelled split; shares are in [0, 1]."""

    images: int
    top1: float
    top5: float
    per_class: NDArray[np.float64]
    """(K,), accuracy on the images of each class; NaN where it has none."""
    confusion: NDArray[np.int64]
    """(K, K) counts: true class down, predicted class across."""
    calibration: Calibration
    images_per_second: float

    def to_json(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Return the measures as plain values, classes by name."""
        per_class = {
            name: None if np.isnan(accuracy) else float(accuracy)
            for name, accuracy in zip(class_names, self.per_class, strict=True)
        }
        return {
            "images": self.images,
            "top1": self.top1,
            "top5": self.top5,
            "expected_calibration_error": self.calibration.expected_error,
            "images_per_second": self.images_per_second,
            "per_class": per_class,
            "confusion": self.confusion.tolist(),
        }


@torch.inference_mode()
def predict(
    model: ImageModel,
    images: Images,
    *,
    batch_size: int = 256,
    precision: torch.dtype = torch.float32,
    on_progress: Callable[[float], None] | None = None,
) -> Predictions:
    """Classify all images of a split, in order.

    Args:
        model: any model of `create_model`, on its device; left in evaluation mode.
        images: the images, as stored.
        batch_size: images a step.
        precision: type of the matrix products.
        on_progress: called with the share done, in [0, 1].
    """
    device = next(model.parameters()).device
    model.eval()
    probabilities, labels, indices = [], [], []
    begun, seen, timed_from, not_timed = time.monotonic(), 0, time.monotonic(), 0
    for batch in images.evaluation_batches(batch_size):
        inputs = prepare(batch.images.to(device), model.image_size, batch.aspect_ratios)
        with autocast(device, precision):
            logits = model(inputs)
        probabilities.append(logits.float().softmax(dim=1).cpu())
        labels.append(batch.labels.cpu())
        indices.append(batch.indices)
        seen += len(batch.labels)
        if len(labels) == 1 and seen < len(images):
            timed_from, not_timed = time.monotonic(), seen
        if on_progress is not None:
            on_progress(min(1.0, seen / len(images)))
    if not seen:
        raise UsageError("there is no readable image to evaluate on.")
    elapsed = time.monotonic() - (timed_from if not_timed else begun)
    return Predictions(
        probabilities=torch.cat(probabilities).numpy(),
        labels=torch.cat(labels).numpy(),
        indices=torch.cat(indices).numpy(),
        images_per_second=(seen - not_timed) / elapsed,
    )


def evaluate(predictions: Predictions) -> Evaluation:
    """Return the measures of predictions against their labels."""
    labels, predicted = predictions.labels, predictions.predicted
    classes = predictions.probabilities.shape[1]
    confusion = confusion_matrix(labels, predicted, labels=np.arange(classes))
    counts = confusion.sum(axis=1)
    per_class = np.divide(
        confusion.diagonal(), counts, out=np.full(classes, np.nan), where=counts > 0
    )
    best = np.argsort(-predictions.probabilities, axis=1, kind="stable")[:, :5]
    return Evaluation(
        images=len(labels),
        top1=float((predicted == labels).mean()),
        top5=float((best == labels[:, None]).any(axis=1).mean()),
        per_class=per_class,
        confusion=confusion,
        calibration=calibration(predictions),
        images_per_second=predictions.images_per_second,
    )


def accuracy(predictions: Predictions) -> float:
    """Return the share of images whose most probable class is the true one, in [0, 1]."""
    return float((predictions.predicted == predictions.labels).mean())


def calibration(predictions: Predictions, bins: int = CALIBRATION_BINS) -> Calibration:
    """Compare the probability of the predicted class with how often it is the true one."""
    confidence = predictions.probabilities.max(axis=1)
    right = predictions.predicted == predictions.labels
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    counts = np.bincount(which, minlength=bins)
    filled = np.maximum(counts, 1)
    return Calibration(
        counts=counts,
        confidence=np.bincount(which, weights=confidence, minlength=bins) / filled,
        accuracy=np.bincount(which, weights=right, minlength=bins) / filled,
    )


def multi_label_accuracy(predictions: Predictions, allowed: Sequence[Sequence[int]]) -> float:
    """Return the share of images whose most probable class is among the allowed ones, in [0, 1].

    Images without any allowed class are left out, as for ImageNet's "ReaL" labels
    (https://arxiv.org/abs/2006.07159).

    Args:
        predictions: of a model.
        allowed: one list of class indices for each image of the split, readable or not.

    Raises:
        UsageError: the list is shorter than the split, or allows no class for any image.
    """
    if len(allowed) <= int(predictions.indices.max()):
        raise UsageError(
            f"{len(allowed)} label sets for at least {predictions.indices.max() + 1} images: "
            "give one list of classes for each image, in the order of the split."
        )
    hits = [
        int(predicted) in allowed[index]
        for index, predicted in zip(predictions.indices, predictions.predicted, strict=True)
        if allowed[index]
    ]
    if not hits:
        raise UsageError("no image has an allowed class: there is nothing to measure.")
    return float(np.mean(hits))


def read_label_sets(path: Path) -> list[list[int]]:
    """Read label sets from a JSON file: one list of class indices for each image.

    Raises:
        UsageError: the file is missing or of another form.
    """
    try:
        sets = json.loads(path.read_text())
    except FileNotFoundError:
        raise UsageError(f"no file {str(path)!r} with label sets.") from None
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}.") from None
    right = isinstance(sets, list) and all(
        isinstance(one, list) and all(isinstance(label, int) for label in one) for one in sets
    )
    if not right:
        raise UsageError(f"{path} must hold one list of class indices for each image.")
    return sets


def in_order_of(split: Split, label_sets: Sequence[Sequence[int]]) -> Sequence[Sequence[int]]:
    """Return label sets in the order of a split's images.

    ImageNet's ReaL labels are listed by the number in a file's name, ILSVRC2012_val_00000001, while
    the files lie in class folders (https://github.com/google-research/reassessed-imagenet). Where
    all images are named so, their numbers find their sets; elsewhere the order is taken as it is.

    Raises:
        UsageError: a number is beyond the list.
    """
    found = [_IMAGENET_NUMBER.search(split.name(index)) for index in range(len(split))]
    numbers = [int(match[1]) for match in found if match]
    if len(numbers) < len(found):
        return label_sets
    if max(numbers, default=0) > len(label_sets):
        raise UsageError(f"{len(label_sets)} label sets, but an image has number {max(numbers)}.")
    return [label_sets[number - 1] for number in numbers]
