"""A whole evaluation: from a model file and a data source to measures."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlpmixer.data.batches import Images
from mlpmixer.data.dataset import Dataset, Split
from mlpmixer.data.options import DataOptions
from mlpmixer.data.protocol_splits import arrange_splits
from mlpmixer.data.reading import read_split, tell_skipped
from mlpmixer.data.relabelled import Relabelled
from mlpmixer.data.sources import open_source, same_source
from mlpmixer.engines.optimize import for_inference
from mlpmixer.errors import UsageError
from mlpmixer.evaluation.classify import SEVERAL_CLASSES, Evaluation, classify
from mlpmixer.evaluation.real_labels import in_order_of, read_label_sets
from mlpmixer.models.interface import ImageModel
from mlpmixer.run.console import Console
from mlpmixer.runtime import Runtime, keep_freed_memory
from mlpmixer.weights.checkpoint import load


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation found."""

    data: str
    split: str
    class_names: tuple[str, ...]
    evaluation: Evaluation
    flip: bool
    """Whether probabilities are averages over each image and its mirror image."""

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        measures = self.evaluation.to_json(self.class_names)
        return {"data": self.data, "split": self.split, "flip": self.flip, **measures}


def evaluate_model(
    path: str | Path,
    *,
    data: str | None,
    split: str | None,
    options: DataOptions,
    class_names: Path | None = None,
    multi_labels: Path | None = None,
    flip: bool = False,
    batch_size: int,
    runtime: Runtime,
    console: Console,
) -> EvaluationResult:
    """Evaluate the model at `path` on a split of `data`, or of what it was trained on.

    Args:
        path: a run directory, a checkpoint, or hf-hub:user/name.
        data: where the images come from; None takes what the model was trained on.
        split: which images; None takes test, else validation, else all there are.
        options: how images are read.
        class_names: a file with the names of the model's classes, in place of its own.
        multi_labels: a file with the classes that count as right for each image.
        flip: average the probabilities over each image and its mirror image.
        batch_size: images a step.
        runtime: where to run, and in which precision.
        console: takes messages and progress.

    Raises:
        UsageError: a name is unknown, or the classes of model and data do not match.
        MixerError: the model is damaged or too many images are unreadable.
    """
    keep_freed_memory()
    label_sets = None if multi_labels is None else read_label_sets(multi_labels)
    model = load(path, class_names=class_names).to(runtime.device)
    labelled = open_labelled(model, path, data, split, options, console)
    if label_sets is not None:
        label_sets = labelled.split.renumbered(in_order_of(labelled.split, label_sets, console))
    with console.progress("evaluating") as progress:
        evaluation = classify(
            for_inference(model, runtime),
            labelled.images,
            runtime,
            allowed=label_sets,
            flip=flip,
            batch_size=batch_size,
            on_progress=progress.update,
        )
    names = model.class_names or labelled.class_names
    return EvaluationResult(labelled.data, labelled.name, names, evaluation, flip)


@dataclass(frozen=True)
class LabelledImages:
    """The images that a model is measured on, read."""

    data: str
    name: str
    """Of the split."""
    class_names: tuple[str, ...]
    """Those of the data."""
    split: Relabelled
    images: Images


def open_labelled(
    model: ImageModel,
    path: str | Path,
    data: str | None,
    split: str | None,
    options: DataOptions,
    console: Console,
) -> LabelledImages:
    """Read the images to measure a model on, which was loaded from `path`; see `evaluate_model`.

    Raises:
        UsageError: a name is unknown, or the classes of model and data do not match.
        MixerError: too many images are unreadable.
    """
    source = data or model.facts.get("data")
    if source is None:
        raise UsageError(f"{path} does not say what it was trained on: give --data.")
    dataset = open_source(source)
    for remark in dataset.remarks:
        console.message(remark)
    name, chosen = images_for(model, dataset, split)
    if split is None and name == "train" and _trained_on(dataset, model.facts):
        console.warning(
            f"{source} has no images but those that the model was trained on: how it does on "
            "others is not told by them. Give other data by --data."
        )
    if chosen.label_sets is not None:
        console.message(SEVERAL_CLASSES)
    if model.class_names is None:
        first = ", ".join(map(repr, dataset.class_names[:3]))
        console.warning(
            f"{path} does not name its classes: they are taken to be those of {source} in their "
            f"order, {first}{', …' if len(dataset.class_names) > 3 else ''}. "
            "If that is not so, give --class-names FILE."
        )
    images = read_split(chosen, name, model.preprocessing, options, console)
    tell_skipped(images, console)
    return LabelledImages(source, name, dataset.class_names, chosen, images)


def images_for(model: ImageModel, dataset: Dataset, split: str | None) -> tuple[str, Relabelled]:
    """Return the split to measure a model on, by its name and with labels that are its logits.

    Raises:
        UsageError: there is no such split, or the classes of model and data do not match.
    """
    name, chosen = _choose(dataset, split, model.facts)
    class_names = model.class_names or dataset.class_names
    if len(class_names) != model.num_classes:
        raise UsageError(
            f"the model has {model.num_classes} logits without names, but {dataset.spec} has "
            f"{len(class_names)} classes: name the model's by --class-names FILE."
        )
    return name, Relabelled(chosen, dataset.class_names, class_names, dataset.spec)


def _choose(dataset: Dataset, split: str | None, facts: Mapping[str, Any]) -> tuple[str, Split]:
    """Return the split asked for; the best unseen one if none was."""
    if _trained_on(dataset, facts) and "train" in dataset.splits and "seed" in facts:
        fraction = facts.get("validation_fraction", 0)  # the same images as training held out
        dataset, _ = arrange_splits(dataset, facts.get("splits", "own"), fraction, facts["seed"])
    order = ("test", "validation", "train") if split is None else (split,)
    for name in order:
        if name in dataset.splits:
            return name, dataset.splits[name]
    raise UsageError(
        f"{dataset.spec} has no {split} images, only {', '.join(dataset.splits)}: "
        "choose one of them by --split."
    )


def _trained_on(dataset: Dataset, facts: Mapping[str, Any]) -> bool:
    data = facts.get("data")
    return data is not None and same_source(dataset.spec, str(data))
