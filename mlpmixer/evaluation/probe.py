"""A whole few-shot probe: from a model file and a data source to a table of accuracies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlpmixer.compute import choose_device, choose_precision, keep_freed_memory
from mlpmixer.data.dataset import hold_out_validation
from mlpmixer.data.loader import open_images
from mlpmixer.data.options import DataOptions
from mlpmixer.data.protocol_splits import HELD_OUT
from mlpmixer.data.sources import open_source
from mlpmixer.errors import UsageError
from mlpmixer.evaluation.features import extract
from mlpmixer.evaluation.fewshot import FewShotResult, few_shot
from mlpmixer.evaluation.ridge import STRENGTHS
from mlpmixer.models.capture import intermediate_names
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.mixer import Mixer
from mlpmixer.models.resize import resize
from mlpmixer.report.console import Console
from mlpmixer.weights.checkpoint import load


@dataclass(frozen=True)
class Probed:
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
    device: str,
    precision: str,
    keep: bool,
    console: Console,
) -> Probed:
    """Probe the model at `source` on `data`, at its own image size or another.

    Raises:
        UsageError: a name is unknown, the size does not fit, or a class has too few images.
        MixerError: the model is damaged or too many images are unreadable.
    """
    keep_freed_memory()
    where = choose_device(device)
    arithmetic = choose_precision(precision, where)
    model = load(source)
    if layer is not None and layer not in intermediate_names(model):
        raise UsageError(f"{source} has no layer {layer!r}: `mixer info {source}` lists them.")
    model = at_size(model, image_size).to(where)
    dataset = open_source(data)
    if "train" not in dataset.splits:
        raise UsageError(f"{data} has no training images to draw the shots from.")
    if not {"test", "validation"} & set(dataset.splits):
        dataset = hold_out_validation(dataset, HELD_OUT, seed=0)
    tested = "test" if "test" in dataset.splits else "validation"
    found = {}
    for name in ("train", tested):
        with console.progress(f"reading {name} images") as progress:
            images = open_images(
                dataset.splits[name], model.image_size, options, None, progress.update
            )
        for unreadable, reason in images.unreadable.reasons.items():
            console.warning(f"skipped {unreadable}: {reason}")
        with console.progress(f"features of the {name} images") as progress:
            found[name] = extract(
                model,
                images,
                layer=layer,
                precision=arithmetic,
                keep=keep,
                on_progress=progress.update,
            )
    result = few_shot(
        found["train"],
        found[tested],
        len(dataset.class_names),
        shots=shots,
        seeds=seeds,
        strengths=strengths,
    )
    width, images_tested = found["train"][0].shape[1], len(found[tested][1])
    classes = len(dataset.class_names)
    return Probed(model.name, data, tested, images_tested, classes, width, result)


def at_size(model: ImageModel, image_size: tuple[int, ...] | None) -> ImageModel:
    """Return the model for images of a size: one side, or height and width; None for its own.

    Raises:
        UsageError: it is no Mixer, or the size does not fit its patches.
    """
    if image_size is None or (image_size[0], image_size[-1]) == model.image_size:
        return model
    if not isinstance(model, Mixer):
        raise UsageError(f"{model.name} cannot be resized: leave --image-size out.")
    return resize(model, (image_size[0], image_size[-1]))
