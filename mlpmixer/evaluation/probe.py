"""A whole few-shot probe: from a model file and a data source to a table of accuracies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mlpmixer.data.dataset import Split
from mlpmixer.data.held_out import hold_out_validation
from mlpmixer.data.label_sets import ONE_CLASS_A_SHOT, need_one_label
from mlpmixer.data.options import DataOptions
from mlpmixer.data.protocol_splits import HELD_OUT
from mlpmixer.data.reading import read_split, tell_skipped
from mlpmixer.data.sources import open_source
from mlpmixer.data.splits import Subset
from mlpmixer.engines.optimize import for_inference
from mlpmixer.errors import UsageError
from mlpmixer.evaluation.features import extract
from mlpmixer.evaluation.fewshot import FewShotResult, SupportSets, few_shot, support_sets
from mlpmixer.evaluation.ridge import STRENGTHS
from mlpmixer.models.capture import intermediate_names
from mlpmixer.models.checks import height_and_width
from mlpmixer.models.interface import ImageModel
from mlpmixer.run.console import Console
from mlpmixer.runtime import Runtime, keep_freed_memory
from mlpmixer.weights.checkpoint import load

MOST_UNREADABLE = 0.5
"""Share of the drawn support images above which the data is taken to be broken."""


@dataclass(frozen=True)
class ProbeResult:
    """What a probe found, and on what."""

    model: str
    data: str
    split: str
    images: int
    """How many were tested on."""
    classes: int
    features: int
    result: FewShotResult

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        facts = {"model": self.model, "data": self.data, "split": self.split}
        counts = {"images": self.images, "classes": self.classes, "features": self.features}
        return {**facts, **counts, **self.result.to_json()}


def probe(
    source: str,
    data: str,
    *,
    image_size: tuple[int, ...] | None,
    layer: str | None,
    shots: Sequence[int],
    seeds: int,
    strengths: Sequence[float] = STRENGTHS,
    options: DataOptions,
    runtime: Runtime,
    keep: bool,
    console: Console,
) -> ProbeResult:
    """Probe the model at `source` on `data`, at its own image size or another.

    Of the training images only those in a support set are read.

    Raises:
        UsageError: a name is unknown, the size does not fit, or a class has too few images.
        MixerError: the model is damaged or too many images are unreadable.
    """
    keep_freed_memory()
    model = load(source)
    if layer is not None and layer not in intermediate_names(model):
        raise UsageError(f"{source} has no layer {layer!r}: `mixer info {source}` lists them.")
    model = at_size(model, image_size).to(runtime.device)
    if layer is None:  # an engine computes no layer that can be looked at
        model = for_inference(model, runtime)
    dataset = open_source(data)
    for remark in dataset.remarks:
        console.message(remark)
    need_one_label(dataset, ONE_CLASS_A_SHOT, "give other --data")
    if "train" not in dataset.splits:
        raise UsageError(f"{data} has no training images to draw the shots from.")
    if not {"test", "validation"} & set(dataset.splits):
        dataset = hold_out_validation(dataset, HELD_OUT, seed=0)
    tested = "test" if "test" in dataset.splits else "validation"

    def read(split: Split, name: str, allowed: float) -> _Read:
        reading = replace(options, max_unreadable=allowed)
        images = read_split(split, name, model.preprocessing, reading, console)
        with console.progress(f"features of the {name} images") as progress:
            features, labels = extract(
                model, images, runtime, layer=layer, keep=keep, on_progress=progress.update
            )
        tell_skipped(images, console)
        return _Read(features, labels, set(images.unreadable.reasons))

    classes = len(dataset.class_names)

    def draw(labels: Tensor) -> SupportSets:
        return support_sets(labels, classes, shots, seeds)

    def read_support(images: Subset) -> _Read:
        # As many may be unreadable as in the whole split.
        share = options.max_unreadable * len(dataset.splits["train"]) / len(images)
        return read(images, "support", min(MOST_UNREADABLE, share))

    supports, drawn, known = _readable_support(dataset.splits["train"], draw, read_support)
    probed = read(dataset.splits[tested], tested, options.max_unreadable)
    result = few_shot(
        (known.features, known.labels),
        (probed.features, probed.labels),
        classes,
        {key: torch.searchsorted(drawn, chosen) for key, chosen in supports.items()},
        strengths,
    )
    width = known.features.shape[1]
    return ProbeResult(model.name, data, tested, len(probed.labels), classes, width, result)


class _Read(NamedTuple):
    """The features of a split's readable images."""

    features: Tensor  # (N, D)
    labels: Tensor  # (N,)
    unreadable: set[str]


def _readable_support(
    train: Split, draw: Callable[[Tensor], SupportSets], read: Callable[[Subset], _Read]
) -> tuple[SupportSets, Tensor, _Read]:
    """Draw support sets, and draw anew without the images that turn out to be unreadable.

    Args:
        train: the images to draw from, N of them.
        draw: returns support sets by labels (N,), of which -1 are of no class.
        read: returns the features of what was drawn.

    Returns:
        The sets, the indices in any of them, rising (S,), and the features of these.
    """
    labels = torch.tensor(train.labels)
    while True:
        supports = draw(labels)
        drawn = torch.cat(list(supports.values())).unique()  # in order
        known = read(Subset(train, drawn.numpy()))
        broken = [index for index in drawn.tolist() if train.name(index) in known.unreadable]
        if not broken:
            return supports, drawn, known
        labels[broken] = -1  # others are drawn in their place


def at_size(model: ImageModel, image_size: tuple[int, ...] | None) -> ImageModel:
    """Return the model for images of a size: one side, or height and width; None for its own.

    Raises:
        UsageError: it cannot be resized, or not to this size.
    """
    if image_size is None or height_and_width(image_size) == model.image_size:
        return model
    return model.resized(image_size)
