"""The pictures that an inspection follows through a model, and those that it explains."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlpmixer.data.augment import normalize
from mlpmixer.data.dataset import Dataset, Split
from mlpmixer.data.loader import open_images
from mlpmixer.data.options import DataOptions
from mlpmixer.data.picture import decode
from mlpmixer.data.sources import open_source
from mlpmixer.data.splits import FileSplit, Subset
from mlpmixer.errors import UsageError
from mlpmixer.evaluation.evaluate import images_for
from mlpmixer.evaluation.forward import probabilities, respond
from mlpmixer.models.interface import ImageModel
from mlpmixer.randomness import generator
from mlpmixer.run.console import Console
from mlpmixer.runtime import Runtime

EXAMPLES = 6
"""Pictures of the data that are explained: half of them mistakes, where there are as many."""
_BATCH = 64


@dataclass(frozen=True)
class ExamplePictures:
    """Pictures as a model takes them."""

    inputs: Tensor
    """(N, 3, H, W) in [-1, 1]."""
    names: tuple[str, ...]
    labels: tuple[tuple[int, ...], ...] | None = None
    """Of each, its classes as indices of the model's logits; None where they are not known."""

    def some(self, indices: Sequence[int]) -> "ExamplePictures":
        """Return those at the given indices, in that order."""
        labels = self.labels
        return ExamplePictures(
            self.inputs[list(indices)],
            tuple(self.names[index] for index in indices),
            None if labels is None else tuple(labels[index] for index in indices),
        )


def picture_files(paths: Sequence[Path]) -> list[Split]:
    """Return image files as splits of one image.

    Raises:
        UsageError: there is no such file.
        MixerError: it cannot be read as an image.
    """
    splits: list[Split] = []
    for path in paths:
        if not path.is_file():
            raise UsageError(f"--picture {path}: there is no such file.")
        splits.append(FileSplit(path.parent, [path.name], [0]))
        decode(splits[-1], 0)
    return splits


def read_files(splits: Sequence[Split], model: ImageModel, options: DataOptions) -> ExamplePictures:
    """Return the images of splits of one image each, cropped as for an evaluation."""
    parts = [_read(split, model, options) for split in splits]
    names = tuple(name for part in parts for name in part.names)
    return ExamplePictures(torch.cat([part.inputs for part in parts]), names)


def read_data(
    spec: str, model: ImageModel, count: int, options: DataOptions, console: Console
) -> tuple[ExamplePictures, tuple[str, ...] | None]:
    """Return `count` unseen pictures of a data source, always the same, and its logits' names.

    Where the classes are not those of the model, labels are left aside, and the names are None.

    Raises:
        UsageError: there is no such source.
        MixerError: it cannot be read.
    """
    dataset = open_source(spec)
    split, names = _unseen(model, dataset, console)
    order = torch.randperm(len(split), generator=generator(0, "inspect"))[:count]
    chosen = Subset(split, np.sort(order.numpy()))
    with console.progress("reading pictures") as progress:
        return _read(chosen, model, options, names is not None, progress.update), names


def choose_examples(model: ImageModel, found: ExamplePictures, runtime: Runtime) -> ExamplePictures:
    """Return pictures worth explaining: right answers of several classes, then mistakes.

    The mistakes are those that the model is surest of. Without labels, all answers count as right.
    """
    sure, predicted = _answers(model, found.inputs, runtime)
    right = np.ones(len(sure), dtype=bool)
    if found.labels is not None:
        pairs = zip(predicted.tolist(), found.labels, strict=True)
        right = np.array([answer in classes for answer, classes in pairs])
    mistakes = np.flatnonzero(~right)
    mistakes = mistakes[np.argsort(-sure[mistakes], kind="stable")]
    answers = np.flatnonzero(right)
    first = np.sort(np.unique(predicted[answers], return_index=True)[1])  # of each class
    answers = np.concatenate([answers[first], np.delete(answers, first)])
    wanted = max(EXAMPLES // 2, EXAMPLES - len(answers))
    mistakes = mistakes[:wanted]
    return found.some([*answers[: EXAMPLES - len(mistakes)].tolist(), *mistakes.tolist()])


def _answers(
    model: ImageModel, inputs: Tensor, runtime: Runtime
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the probability and the index of the predicted class of each picture, (N,)."""
    parts = inputs.split(_BATCH)
    answers = [respond(model, part, runtime, probabilities).max(dim=1) for part in parts]
    sure = torch.cat([answer.values for answer in answers])
    predicted = torch.cat([answer.indices for answer in answers])
    return sure.cpu().numpy(), predicted.cpu().numpy()


def _unseen(
    model: ImageModel, dataset: Dataset, console: Console
) -> tuple[Split, tuple[str, ...] | None]:
    """Return the split that the training never saw, and the names of the logits if they match."""
    try:
        _, split = images_for(model, dataset, None)
    except UsageError as error:
        console.warning(f"{error} Its labels are left aside.")
        known = [name for name in ("test", "validation", "train") if name in dataset.splits]
        return dataset.splits[known[0]], None
    return split, model.class_names or dataset.class_names


def _read(
    split: Split,
    model: ImageModel,
    options: DataOptions,
    labelled: bool = False,
    on_progress: Callable[[float], None] | None = None,
) -> ExamplePictures:
    inputs, names, labels = [], [], []
    images = open_images(split, model.preprocessing, options, on_progress=on_progress)
    for batch in images.evaluation_batches(_BATCH):
        inputs.append(normalize(batch.images))
        names += [split.name(index) for index in batch.indices.tolist()]
        rows = batch.labels.view(len(batch.labels), -1).tolist()
        labels += [tuple(dict.fromkeys(row)) for row in rows]  # rows are filled up with the first
    if not inputs:
        raise UsageError("there is no readable image to look at.")
    return ExamplePictures(torch.cat(inputs), tuple(names), tuple(labels) if labelled else None)
