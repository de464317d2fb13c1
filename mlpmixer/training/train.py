"""A whole training: from a recipe to a run directory with a model, its evaluation and a report.

Everything that can be wrong with the request is found before the long work begins.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mlpmixer.data.augment import Augmenter
from mlpmixer.data.batches import Images, steps_per_epoch
from mlpmixer.data.dataset import Dataset
from mlpmixer.data.loader import common_size, open_images
from mlpmixer.data.protocol_splits import arrange_splits
from mlpmixer.data.share import keep_share
from mlpmixer.data.sources import open_source
from mlpmixer.errors import UsageError
from mlpmixer.evaluation.classify import Predictions, accuracy, evaluate, predict
from mlpmixer.files import write_json
from mlpmixer.formatting import number, percent
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.registry import create_model
from mlpmixer.randomness import derived_seed
from mlpmixer.report.html import write_report
from mlpmixer.run.console import Console
from mlpmixer.run.directory import RunDirectory
from mlpmixer.runtime import (
    choose_device,
    choose_precision,
    keep_freed_memory,
    machine,
    peak_memory,
)
from mlpmixer.training.recipe import ModelOptions, Recipe, check_budget
from mlpmixer.training.run_report import report_contents
from mlpmixer.training.state import Position
from mlpmixer.training.trainer import Trainer, total_steps
from mlpmixer.training.transfer import freeze, start_from
from mlpmixer.weights.checkpoint import load, save

LARGEST_OWN_SIZE = 64
"""Images that are all alike and up to this many pixels a side are taken at their own size."""


@dataclass(frozen=True)
class Plan:
    """A recipe with its open questions answered, and what it works on."""

    recipe: Recipe
    dataset: Dataset
    notes: tuple[str, ...]
    device: torch.device
    precision: torch.dtype
    model: ImageModel


def plan(recipe: Recipe) -> Plan:
    """Open the data, build the model and check that all of it fits.

    Raises:
        UsageError: something that was asked for cannot be done.
    """
    check_budget(recipe.schedule)
    device = choose_device(recipe.compute.device)
    precision = choose_precision(recipe.compute.precision, device)
    dataset = open_source(recipe.data.data)
    if "train" not in dataset.splits:
        raise UsageError(f"{recipe.data.data} has no training images, only {list(dataset.splits)}.")
    options = recipe.data
    dataset, note = arrange_splits(
        dataset, options.splits, options.validation_fraction, recipe.compute.seed
    )
    dataset = keep_share(dataset, options.train_fraction, recipe.compute.seed)
    recipe = replace(recipe, model=_with_image_size(recipe.model, dataset))
    torch.manual_seed(derived_seed(recipe.compute.seed, "weights"))
    if recipe.model.start_from is None:
        model = build(recipe.model, len(dataset.class_names))
    else:
        model = start_from(recipe.model, dataset.class_names)
        recipe = replace(recipe, model=replace(recipe.model, model=model.name))
    freeze(model, recipe.optimizer)
    model = model.to(device)
    Augmenter(recipe.augment, model.image_size, model.num_classes)  # checks its options
    batch_size, parts = recipe.optimizer.batch_size, recipe.optimizer.accumulate
    if parts < 1 or batch_size % parts:
        raise UsageError(f"--accumulate {parts} does not divide the batch size {batch_size}.")
    steps_per_epoch(len(dataset.splits["train"]), batch_size)
    total_steps(recipe, len(dataset.splits["train"]))
    return Plan(recipe, dataset, (note,) if note else (), device, precision, model)


def build(options: ModelOptions, num_classes: int) -> ImageModel:
    """Build the model that the options describe, with fresh weights.

    Raises:
        UsageError: an option is not one of this model, or does not fit.
    """
    named = ("patch_size", "width", "depth", "tokens_mlp_dim", "channels_mlp_dim", "gelu")
    shuffle = ("input_shuffle", "shuffle_patch_size")
    optional = (*named, *shuffle, "head_bias", "dropout", "stochastic_depth")
    given = {name: getattr(options, name) for name in optional}
    size = options.image_size
    model = create_model(
        options.model,
        image_size=None if size is None else (size[0], size[-1]),
        num_classes=num_classes,
        **{name: value for name, value in given.items() if value is not None},
    )
    if options.grad_checkpointing:
        model.set_grad_checkpointing(True)
    return model


def _with_image_size(options: ModelOptions, dataset: Dataset) -> ModelOptions:
    """Return the options with the image size settled."""
    size = options.image_size
    if size is not None:
        if len(size) not in (1, 2):
            raise UsageError(f"image size {size}: give one side, or height and width.")
        return options
    own = common_size(dataset.splits["train"])
    if own is not None and max(own) <= LARGEST_OWN_SIZE and options.start_from is None:
        return replace(options, image_size=own)
    return options  # the model's own


def train(
    recipe: Recipe, out: Path, console: Console, *, resume: bool = False
) -> Mapping[str, Any]:
    """Run a recipe, or continue an interrupted run, and report on it.

    Args:
        recipe: what to do; when resuming, the one that the run directory holds.
        out: the run directory, made anew unless resuming.
        console: takes messages and progress.
        resume: continue from the state saved in `out`.

    Returns:
        The outcome as plain values: accuracy, paths, speed; "finished" is False if the training
        was interrupted.

    Raises:
        UsageError: something that was asked for cannot be done; found before long work begins.
        MixerError: the data or the training failed.
    """
    keep_freed_memory()
    planned = plan(recipe)
    recipe = planned.recipe
    run = RunDirectory.open(out) if resume else RunDirectory.create(out, recipe.to_toml())
    with run:
        for note in planned.notes:
            console.message(note)
        images = _read(planned, console)
        trainer = _trainer(planned, images, run)
        if resume:
            trainer.resume()
        console.message(_introduction(planned, images))
        with console.progress("training") as progress:
            finished = trainer.fit(progress)
        if not finished:
            return {"finished": False, "run": str(out), "step": trainer.position.step}
        return _report(planned, images, run, trainer.position, console)


def _read(planned: Plan, console: Console) -> dict[str, Images]:
    """Make every split ready to be batched."""
    size = planned.model.image_size
    recipe = planned.recipe
    random_crop = recipe.augment.crop in ("auto", "inception")
    images: dict[str, Images] = {}
    for name, split in planned.dataset.splits.items():
        crop_scale = recipe.augment.crop_scale if name == "train" and random_crop else None
        with console.progress(f"reading {name} images") as progress:
            images[name] = open_images(split, size, recipe.data, crop_scale, progress.update)
        if planned.device.type == "cuda":
            images[name].to(planned.device)
        for unreadable, reason in images[name].unreadable.reasons.items():
            console.warning(f"skipped {unreadable}: {reason}")
    return images


def _trainer(planned: Plan, images: Mapping[str, Images], run: RunDirectory) -> Trainer:
    recipe, model = planned.recipe, planned.model
    names = planned.dataset.class_names
    augment = recipe.augment
    if not images["train"].in_memory and augment.crop in ("auto", "inception"):
        augment = replace(augment, crop="none")  # the workers have cropped already

    def validate(candidate: ImageModel) -> float:
        return accuracy(predict(candidate, images["validation"], precision=planned.precision))

    def save_model(candidate: ImageModel, position: Position) -> None:
        facts = {
            "data": recipe.data.data,
            "splits": recipe.data.splits,
            "validation_fraction": recipe.data.validation_fraction,
            "seed": recipe.compute.seed,
            "step": position.step,
            "validation_accuracy": position.best_accuracy,
        }
        save(candidate, run.model, names, **facts)

    return Trainer(
        recipe,
        model,
        images["train"],
        Augmenter(augment, model.image_size, model.num_classes),
        validate if "validation" in images else None,
        save_model,
        run,
        planned.precision,
    )


def _introduction(planned: Plan, images: Mapping[str, Images]) -> str:
    model = planned.model
    parameters = sum(parameter.numel() for parameter in model.parameters())
    size = "x".join(map(str, model.image_size))
    counts = ", ".join(f"{len(split):,} {name}" for name, split in images.items())
    precision = str(planned.precision).removeprefix("torch.")
    return (
        f"{model.name}: {parameters:,} parameters, {size} pixels, {precision} on "
        f"{planned.device.type}; {counts} images of {model.num_classes} classes"
    )


def _report(
    planned: Plan,
    images: Mapping[str, Images],
    run: RunDirectory,
    position: Position,
    console: Console,
) -> dict[str, Any]:
    """Evaluate the best model and write evaluation.json and report.html."""
    training_peak = peak_memory(planned.device)
    split = next((name for name in ("test", "validation") if name in images), "train")
    model = load(run.model).to(planned.device)
    with console.progress(f"evaluating on the {split} images") as progress:
        predictions: Predictions = predict(model, images[split], on_progress=progress.update)
    evaluation = evaluate(predictions)
    measures = evaluation.to_json(planned.dataset.class_names)
    where = {"split": split, "machine": machine(planned.device)}
    write_json(run.evaluation, {**where, **measures})
    records = run.records()
    contents = report_contents(
        recipe=planned.recipe,
        run=run.path,
        dataset=planned.dataset,
        notes=planned.notes,
        images=images,
        split=split,
        model=model,
        predictions=predictions,
        evaluation=evaluation,
        records=records,
        seconds=position.seconds,
        peak_memory_bytes=training_peak,
    )
    write_report(run.report, contents)
    outcome = {
        "finished": True,
        "run": str(run.path),
        "split": split,
        "images": evaluation.images,
        "accuracy": evaluation.top1,
        "top5": evaluation.top5,
        "validation_accuracy": position.best_accuracy if position.best_step else None,
        "steps": position.step,
        "training_seconds": position.seconds,
        "training_images_per_second": contents.training_images_per_second,
        "evaluation_images_per_second": evaluation.images_per_second,
        "peak_memory_bytes": training_peak,
        "report": str(run.report),
    }
    console.message(
        f"{position.step:,} steps in {position.seconds:.1f} s, "
        f"{number(contents.training_images_per_second or 0)} images/s"
    )
    console.message(f"{split} accuracy: {percent(evaluation.top1, 2)}")
    return outcome
