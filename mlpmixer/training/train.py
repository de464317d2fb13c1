"""A whole training: from a recipe to a run directory with a model, its evaluation and a report."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mlpmixer.data.augment import Augmenter
from mlpmixer.data.batches import Images
from mlpmixer.data.duplicates import Duplicates, find_duplicates
from mlpmixer.errors import UsageError
from mlpmixer.evaluation.classify import Evaluation, accuracy, classify
from mlpmixer.files import write_json
from mlpmixer.formatting import counted, number, percent, size_text, without_secrets
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.model_summary import count_parameters
from mlpmixer.ranks import Ranks
from mlpmixer.report.run_contents import ReportContents
from mlpmixer.report.run_page import write_report
from mlpmixer.run.console import Console
from mlpmixer.run.directory import RunDirectory
from mlpmixer.run.tracker import Tracker
from mlpmixer.runtime import Runtime, keep_freed_memory, machine, peak_memory
from mlpmixer.training.batch_size import settle_batch_size, smallest_batch
from mlpmixer.training.checkpointer import Checkpointer, newest_state
from mlpmixer.training.inventory import (
    ChangedData,
    changes,
    digest,
    is_digest_of,
    write_inventory,
)
from mlpmixer.training.loop import TrainingLoop
from mlpmixer.training.plan import Plan, plan
from mlpmixer.training.recipe import Recipe
from mlpmixer.training.run_report import report_contents
from mlpmixer.training.setup import read_images, training_step
from mlpmixer.training.state import SavedState, TrainingIdentity, clear_up, flat_values
from mlpmixer.training.step import TrainingStep
from mlpmixer.training.teacher import Answer
from mlpmixer.training.teacher_logits import logits_for
from mlpmixer.weights.checkpoint import load

TOLD = ("accuracy", "validation_accuracy", "training_seconds", "peak_memory_bytes")
"""Of the outcome, what a tracker is told."""


def train(
    recipe: Recipe,
    out: Path,
    console: Console,
    runtime: Runtime,
    *,
    resume: bool = False,
    allow_changed_data: bool = False,
) -> Mapping[str, Any]:
    """Run a recipe, or continue an interrupted run, and report on it.

    Args:
        recipe: what to do; when resuming, the one that the run directory holds.
        out: the run directory, made anew unless resuming.
        console: takes messages and progress.
        runtime: where to compute; the recipe's device and precision are what it was chosen by.
        resume: continue from the state saved in `out`.
        allow_changed_data: when resuming, go on though the data is not what it was.

    Returns:
        The outcome as plain values: accuracy, paths, speed; "finished" is False if the training
        was interrupted, "stopped_by" then names the signal. "ended_by" is "budget" or "patience".

    Raises:
        UsageError: something that was asked for cannot be done; found before long work begins.
        ChangedData: the data is not what an interrupted run was trained on.
        MixerError: the data or the training failed.
    """
    keep_freed_memory()
    ranks = runtime.ranks
    with ExitStack() as stack:
        saved = None
        with ranks.together():
            run = RunDirectory.open(out) if resume and ranks.leads else RunDirectory(out)
            if resume and ranks.leads:
                stack.enter_context(run)
        if resume:
            saved = newest_state(run.last, ranks)
            if saved.damage:
                console.warning(f"{saved.damage.split(': ')[0]}: going on from the state before")
        automatic = recipe.optimizer.batch_size == "auto"
        with ranks.together():
            planned = plan(smallest_batch(recipe, ranks) if automatic else recipe, runtime)
            identity = _identity(planned)
        _check_same_data(ranks, identity.images_digest)
        with ranks.together():
            if saved is not None:
                _check_state(saved, planned, identity, allow_changed_data, console)
            if ranks.leads and saved is not None:
                clear_up(run.last, saved)
            elif ranks.leads:
                run = RunDirectory.create(out, planned.recipe.to_toml())
                stack.enter_context(run)
                write_inventory(run.last, planned.dataset)
            tracker = _tracked(planned.recipe, run, console) if ranks.leads else None
            if tracker is not None:
                stack.enter_context(tracker)
            if ranks.leads and saved is not None and saved.images != identity.images_digest:
                write_inventory(run.last, planned.dataset)
        for note in planned.notes:
            console.message(note)
        with ranks.together():
            images = read_images(planned, console)
        if automatic:
            planned = settle_batch_size(planned, console)
            with ranks.together():
                if ranks.leads:
                    run.write_recipe(planned.recipe.to_toml())
        teacher = stack.enter_context(logits_for(planned, identity.images_digest, run.last))
        loop = _loop(planned, images, identity, run, console, teacher)
        duplicates = _duplicates(planned, console) if ranks.leads else None
        if saved is not None:
            loop.resume(saved.restore(loop.step))
        console.message(_introduction(planned, images))
        with console.progress("training") as progress:
            finished = loop.fit(progress)
        if not finished:
            if tracker is not None:
                tracker.ended = "stopped"
            stopped_by = loop.stopped_by and loop.stopped_by.name
            step = loop.position.step
            return {"finished": False, "run": str(out), "step": step, "stopped_by": stopped_by}
        outcome = _report(planned, images, duplicates, run, loop, console)
        if tracker is not None:
            numbers = {f"final_{name}": outcome[name] for name in TOLD if outcome[name] is not None}
            numbers |= {f"final_{name}": value for name, value in outcome["metrics"].items()}
            tracker.log(numbers, loop.position.step)
            tracker.keep(run.report)
        return outcome


def _tracked(recipe: Recipe, run: RunDirectory, console: Console) -> Tracker | None:
    """Return the tracker that gets the metrics of the run from now on, where one is wanted."""
    if recipe.tracking.tracker is None:
        return None
    values = flat_values(recipe).items()
    given = {name: without_secrets(str(value)) for name, value in values if value is not None}
    tracker = Tracker(recipe.tracking.tracker, run.path, given, console.warning)
    run.listener = tracker.log
    return tracker


def _check_same_data(ranks: Ranks, images: str) -> None:
    """Raise UsageError where the ranks, on several machines, see different data."""
    others = [rank for rank, one in enumerate(ranks.gather(images)) if one != images]
    if others:
        raise UsageError(
            f"rank {others[0]} finds other images at the same place: copy the data to all machines."
        )


def _duplicates(planned: Plan, console: Console) -> Duplicates:
    with console.progress("looking for duplicates") as progress:
        duplicates = find_duplicates(planned.dataset.splits, progress=progress.update)
    for sentence in duplicates.sentences():
        console.warning(sentence)
    return duplicates


def _identity(planned: Plan) -> TrainingIdentity:
    """Return what the states of a training belong to."""
    teacher = None if planned.teacher is None else planned.teacher.digest
    return TrainingIdentity(planned.dataset.class_names, digest(planned.dataset), teacher)


def _check_state(
    saved: SavedState,
    planned: Plan,
    identity: TrainingIdentity,
    allow_changed_data: bool,
    console: Console,
) -> None:
    """Raise UsageError where a saved state does not fit the recipe or the data."""
    for change in saved.check(planned.recipe, identity):
        console.message(f"the recipe has changed since the run was stopped: {change}")
    if is_digest_of(saved.images, planned.dataset, identity.images_digest):
        return
    told = changes(saved.path.parent, planned.dataset)
    if not allow_changed_data:
        raise ChangedData(f"the data is not what the run was trained on: {told}.")
    console.warning(f"going on with data that the run was not trained on: {told}")


def _loop(
    planned: Plan,
    images: Mapping[str, Images],
    identity: TrainingIdentity,
    run: RunDirectory,
    console: Console,
    teacher: Answer | None,
) -> TrainingLoop:
    recipe, model, dataset = planned.recipe, planned.model, planned.dataset
    step = training_step(planned)

    def validate(candidate: ImageModel) -> float:
        return accuracy(candidate, images["validation"], planned.runtime)

    facts = {
        "data": recipe.data.data,
        "splits": recipe.data.splits,
        "validation_fraction": recipe.data.validation_fraction,
        "seed": recipe.compute.seed,
    }
    if recipe.distillation.teacher is not None:
        facts["teacher"] = recipe.distillation.teacher
    split = dataset.splits["train"]
    wanted = "validation" in images and recipe.schedule.evaluations > 0
    return TrainingLoop(
        step,
        planned.schedule,
        images["train"],
        Augmenter(recipe.augment, model.num_classes),
        validate if wanted else None,
        Checkpointer(run, step, split, identity, facts),
        console.warning,
        teacher,
    )


def _introduction(planned: Plan, images: Mapping[str, Images]) -> str:
    model = planned.model
    parameters = count_parameters(model)
    size = size_text(model.image_size)
    counts = ", ".join(f"{len(split):,} {name}" for name, split in images.items())
    precision = str(planned.runtime.precision).removeprefix("torch.")
    return (
        f"{model.name}: {parameters:,} parameters, {size} pixels, {precision} on "
        f"{planned.runtime.device.type}; {counts} images of {model.num_classes} classes"
    )


def _report(
    planned: Plan,
    images: Mapping[str, Images],
    duplicates: Duplicates | None,
    run: RunDirectory,
    loop: TrainingLoop,
    console: Console,
) -> dict[str, Any]:
    """Evaluate the best model and write evaluation.json and report.html.

    Of several ranks all evaluate, and the leading one, which alone has `duplicates`, writes.
    """
    training_peak = peak_memory(planned.runtime.device)
    split = next((name for name in ("test", "validation") if name in images), "train")
    model = _best(loop.step, run)
    runtime = Runtime(planned.runtime.device, ranks=planned.runtime.ranks)
    with console.progress(f"evaluating on the {split} images") as progress:
        evaluation = classify(model, images[split], runtime, on_progress=progress.update)
    if duplicates is None:
        return {"finished": True, "run": str(run.path)}
    measures = evaluation.to_json(planned.dataset.class_names)
    where = {"split": split, "machine": machine(planned.runtime.device)}
    write_json(run.evaluation, {**where, **measures})
    contents = report_contents(
        planned,
        run,
        images,
        duplicates,
        split=split,
        model=model,
        evaluation=evaluation,
        ended=_ended_early(loop) if loop.ended_early else "",
        seconds=loop.position.seconds,
        peak_memory_bytes=training_peak,
    )
    write_report(run.report, contents)
    outcome = _outcome(contents, evaluation, images, run, loop)
    _tell(outcome, contents.ended, console)
    return outcome


def _outcome(
    contents: ReportContents,
    evaluation: Evaluation,
    images: Mapping[str, Images],
    run: RunDirectory,
    loop: TrainingLoop,
) -> dict[str, Any]:
    """Return what a training came to, as plain values."""
    position = loop.position
    return {
        "finished": True,
        "run": str(run.path),
        "split": contents.split,
        "images": evaluation.images,
        "accuracy": evaluation.top1,
        "metrics": evaluation.metrics,
        "validation_accuracy": position.best_accuracy if position.best_step else None,
        "validation_images": len(images["validation"]) if "validation" in images else None,
        "steps": position.step,
        "ended_by": "patience" if loop.ended_early else "budget",
        "training_seconds": position.seconds,
        "training_images_per_second": contents.training_images_per_second,
        "teacher_time": contents.teacher_time,
        "evaluation_images_per_second": evaluation.images_per_second,
        "peak_memory_bytes": contents.peak_memory_bytes,
        "report": str(run.report),
    }


def _tell(outcome: Mapping[str, Any], ended: str, console: Console) -> None:
    """Say in a few lines what a training came to."""
    if ended:
        console.message(f"the training {ended}")
    taught = outcome["teacher_time"]
    console.message(
        f"{counted(outcome['steps'], 'step')} in {outcome['training_seconds']:.1f} s, "
        f"{number(outcome['training_images_per_second'] or 0)} images/s"
        + ("" if taught is None else f", {percent(taught, 0)} of the time for the teacher")
    )
    console.message(f"{outcome['split']} accuracy: {percent(outcome['accuracy'], 2)}")


def _ended_early(loop: TrainingLoop) -> str:
    """Return why the training ended before its budget did."""
    here = loop.position
    done = loop.schedule.share_done(here.step, here.seconds)
    last = "evaluation was" if here.stalled == 1 else f"{here.stalled} evaluations were"
    return (
        f"ended early, after {percent(done, 0)} of its budget: the last {last} no better than the "
        f"{percent(here.best_accuracy, 2)} before (--patience)"
    )


def _best(step: TrainingStep, run: RunDirectory) -> ImageModel:
    """Return the best model; to the ranks that do not lead its weights are sent."""
    runtime, last = step.runtime, step.evaluated
    model = load(run.model) if runtime.ranks.leads else last
    weights = runtime.ranks.from_lead(model.state_dict)
    if not runtime.ranks.leads:
        model.load_state_dict(weights)
    return model.to(runtime.device)
