"""How much of its accuracy a model keeps when the test images are damaged."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import Tensor

from mlpmixer.data.batches import Batch, ImagesInOrder
from mlpmixer.data.corruptions import SEVERITIES, corrupt, nearest_size
from mlpmixer.data.options import DataOptions
from mlpmixer.engines.optimize import for_inference
from mlpmixer.evaluation.classify import accuracy
from mlpmixer.evaluation.evaluate import open_labelled
from mlpmixer.models.digest import model_digest
from mlpmixer.ranks import ALONE, Ranks
from mlpmixer.run.console import Console
from mlpmixer.runtime import Runtime, keep_freed_memory
from mlpmixer.weights.checkpoint import load

_SHOWN = 3
"""Severity of the examples, of 5."""


class CorruptedImages:
    """Images with one kind of damage in one severity, see `corrupt`."""

    def __init__(self, images: ImagesInOrder, name: str, severity: int) -> None:
        self.images = images
        self.name = name
        self.severity = severity

    def __len__(self) -> int:
        return len(self.images)

    def evaluation_batches(self, batch_size: int, ranks: Ranks = ALONE) -> Iterator[Batch]:
        """Yield all images in order, damaged; of several ranks each gets its own batches."""
        for batch in self.images.evaluation_batches(batch_size, ranks):
            damaged = corrupt(batch.images.cpu(), batch.indices.tolist(), self.name, self.severity)
            yield batch._replace(images=damaged)


@dataclass(frozen=True)
class Robustness:
    """Accuracies on damaged images, in [0, 1]."""

    key: str
    """Tells the model from others, see `model_digest`."""
    data: str
    split: str
    images: int
    """How many there are, unreadable ones included."""
    strengths_for: int
    """Side in pixels of the images that the strengths were made for."""
    clean: float
    """Accuracy on the images as they are."""
    accuracies: Mapping[str, Sequence[float]]
    """By corruption, one a severity."""
    examples: Mapping[str, Tensor]
    """The first image as it is, by "", and damaged by each corruption, (3, H, W) uint8."""

    @property
    def mean(self) -> float:
        """Over all corruptions and severities."""
        return fmean(fmean(one) for one in self.accuracies.values())

    def to_json(self) -> dict[str, Any]:
        """Return everything but the examples as plain values."""
        return {
            "data": self.data,
            "split": self.split,
            "images": self.images,
            "strengths_for_pixels": self.strengths_for,
            "clean_accuracy": self.clean,
            "mean_corrupted_accuracy": self.mean,
            "kept": self.mean / self.clean if self.clean else None,
            "accuracy_by_severity": {name: list(one) for name, one in self.accuracies.items()},
        }


def measure_robustness(
    path: str | Path,
    *,
    corruptions: Sequence[str],
    data: str | None,
    split: str | None,
    options: DataOptions,
    class_names: Path | None = None,
    batch_size: int,
    runtime: Runtime,
    console: Console,
) -> Robustness:
    """Measure the model at `path` on damaged images of a split; see `evaluate_model`.

    Args:
        path: a run directory, a checkpoint, or hf-hub:user/name.
        corruptions: names of `CORRUPTIONS`; each is measured in five severities.
        data: where the images come from; None takes what the model was trained on.
        split: which images; None takes test, else validation, else all there are.
        options: how images are read.
        class_names: a file with the names of the model's classes, in place of its own.
        batch_size: images a step.
        runtime: where to run, and in which precision.
        console: takes messages and progress.

    Raises:
        UsageError: a name is unknown, or the classes of model and data do not match.
        MixerError: the model is damaged or too many images are unreadable.
    """
    keep_freed_memory()
    model = load(path, class_names=class_names).to(runtime.device)
    key = model_digest(model)[:8]
    labelled = open_labelled(model, path, data, split, options, console)
    images = labelled.images
    measure = partial(accuracy, for_inference(model, runtime), runtime=runtime)
    steps = [(name, severity) for name in corruptions for severity in SEVERITIES]
    found: dict[str, list[float]] = {name: [] for name in corruptions}
    with console.progress("evaluating on damaged images") as progress:
        clean = measure(images=images, batch_size=batch_size)
        for done, (name, severity) in enumerate(steps, start=1):
            damaged = CorruptedImages(images, name, severity)
            found[name].append(measure(images=damaged, batch_size=batch_size))
            progress.update(done / len(steps))
    first = next(images.evaluation_batches(1))
    pixels, index = first.images.cpu(), first.indices.tolist()
    examples = {name: corrupt(pixels, index, name, _SHOWN)[0] for name in corruptions}
    return Robustness(
        key,
        labelled.data,
        labelled.name,
        len(images),
        nearest_size(model.image_size),
        clean,
        found,
        {"": pixels[0], **examples},
    )
