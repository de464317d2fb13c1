"""How a task of a suite is checked, and how it is measured, by each of the four protocols."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mlpmixer.data.cache import data_home
from mlpmixer.data.dataset import Dataset
from mlpmixer.data.label_sets import ONE_CLASS_A_SHOT, need_one_label
from mlpmixer.data.options import DataOptions
from mlpmixer.data.protocol_splits import with_test
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.evaluation.evaluate import evaluate_model, images_for
from mlpmixer.evaluation.probe import at_size, probe
from mlpmixer.evaluation.real_labels import in_order_of, read_label_sets
from mlpmixer.files import write_json
from mlpmixer.formatting import percent
from mlpmixer.models.interface import ImageModel
from mlpmixer.run.console import Console
from mlpmixer.runtime import Runtime, choose_precision
from mlpmixer.suites.definition import Evaluate, FewShot, Finetune, Task, Vtab1k
from mlpmixer.suites.result import TaskResult
from mlpmixer.training.finished_run import train_once
from mlpmixer.training.plan import plan
from mlpmixer.training.recipe import Recipe

EVALUATION_BATCH = 256


@dataclass(frozen=True)
class SuiteContext:
    """What the tasks of a suite share: the model, and what to measure it with."""

    source: str
    """A run directory, a checkpoint, or hf-hub:user/name."""
    options: DataOptions
    runtime: Runtime
    """Of measuring; trainings run on its device, in the precision of their recipes."""


def check(task: Task, setting: SuiteContext, model: ImageModel, dataset: Dataset) -> None:
    """Raise UsageError where a task cannot be done with this model and data."""
    match task.protocol:
        case Evaluate() as options:
            _, split = images_for(model, dataset, options.split)
            if sets := _label_sets(options.multi_labels):
                split.renumbered(in_order_of(split, sets))
        case FewShot() as options:
            at_size(model, options.image_size)
            need_one_label(dataset, ONE_CLASS_A_SHOT, "leave it out of the suite")
            labels = with_test(dataset).splits["train"].labels
            fewest = int(np.bincount(labels, minlength=len(dataset.class_names)).min())
            if fewest < options.shots:
                raise UsageError(
                    f"a class of {task.data} has {fewest} training images, fewer than "
                    f"{options.shots} shots."
                )
        case Finetune() as options:
            _check_training(options.recipe, task, setting)
            _label_sets(options.multi_labels)
        case Vtab1k() as options:
            for candidate in options.candidates:
                changes = {**candidate, "splits": "vtab1000"}
                _check_training(options.recipe.override(changes), task, setting)


def measure(task: Task, setting: SuiteContext, folder: Path, console: Console) -> TaskResult:
    """Do a task; what a training leaves lies in `folder`, and an interrupted one goes on.

    Raises:
        MixerError: it failed.
        KeyboardInterrupt: Ctrl-C; the state of a training is saved.
    """
    match task.protocol:
        case Evaluate() as options:
            labels = _label_file(options.multi_labels, console)
            return _evaluated(task, setting, setting.source, options.split, labels, console)
        case FewShot() as options:
            return _few_shot(task, options, setting, console)
        case Finetune() as options:
            run = folder / "run"
            result = _trained(task, options.recipe, setting, run, console)
            labels = _label_file(options.multi_labels, console)
            if labels is None:
                return result
            again = _evaluated(task, setting, str(run), None, labels, console)
            return replace(result, multi_label_accuracy=again.multi_label_accuracy)
        case Vtab1k() as options:
            return _vtab(task, options, setting, folder, console)


def lacks_labels(task: Task, result: TaskResult) -> bool:
    """Tell whether a result lacks the multi-label accuracy, and the labels for it are there now."""
    match task.protocol:
        case Evaluate(multi_labels=str() as labels) | Finetune(multi_labels=str() as labels):
            return result.multi_label_accuracy is None and _find(labels) is not None
        case _:
            return False


def blank(task: Task) -> TaskResult:
    """Return the result of a task that was not measured."""
    return TaskResult(task=task.name, group=task.group, data=task.data, protocol=task.kind)


def _evaluated(
    task: Task,
    setting: SuiteContext,
    source: str,
    split: str | None,
    labels: Path | None,
    console: Console,
) -> TaskResult:
    measured = evaluate_model(
        source,
        data=task.data,
        split=split,
        options=setting.options,
        multi_labels=labels,
        batch_size=EVALUATION_BATCH,
        runtime=setting.runtime,
        console=console,
    )
    result = measured.evaluation
    return replace(
        blank(task),
        accuracy=result.top1,
        images=result.images,
        multi_label_accuracy=result.metrics.get("multi_label_accuracy"),
        details={"split": measured.split, **result.metrics},
    )


def _few_shot(task: Task, options: FewShot, setting: SuiteContext, console: Console) -> TaskResult:
    probed = probe(
        setting.source,
        task.data,
        image_size=options.image_size,
        layer=None,
        shots=[options.shots],
        seeds=options.seeds,
        options=setting.options,
        runtime=setting.runtime,
        keep=True,
        console=console,
    )
    result = probed.result
    fixed = result.at_fixed_strength
    return replace(
        blank(task),
        accuracy=float(result.mean[0]),
        images=probed.images,
        details={
            "split": probed.split,
            "shots": options.shots,
            "seeds": options.seeds,
            "spread": float(result.spread[0]),
            "strength": result.strengths[result.best_strength[0]],
            "accuracy_at_fixed_strength": None if fixed is None else float(fixed[0]),
        },
    )


def _vtab(
    task: Task, options: Vtab1k, setting: SuiteContext, folder: Path, console: Console
) -> TaskResult:
    tried: list[dict[str, Any]] = []
    failures: list[MixerError] = []
    for number, changes in enumerate(options.candidates, start=1):
        if len(options.candidates) == 1:
            tried.append({"changes": changes, "accuracy": None})
            break
        file, run = folder / f"sweep-{number}.json", folder / f"sweep-{number}"
        if file.exists():
            tried.append(_read_candidate(file))
            continue
        # The last weights count, as in the end, where no images are left to choose others by.
        whole = {**changes, "splits": "vtab800", "evaluations": 1}
        recipe = options.recipe.override(whole)
        shown = ", ".join(f"{name} {value}" for name, value in changes.items())
        try:
            accuracy = _trained(task, recipe, setting, run, console).accuracy
        except UsageError:
            raise
        except MixerError as error:  # a learning rate that is too high, say; others may do
            failures.append(error)
            tried.append({"changes": changes, "accuracy": None, "problem": str(error)})
            console.warning(f"{task.name}, {shown}: {error}")
            continue
        assert accuracy is not None
        tried.append({"changes": changes, "accuracy": accuracy})
        write_json(file, tried[-1])
        shutil.rmtree(run)  # its accuracy is all that is needed
        console.message(f"{task.name}, {shown}: {percent(accuracy)} of the 200 images")
    if len(failures) == len(tried):
        raise failures[0]
    best = max(tried, key=lambda one: -1.0 if one["accuracy"] is None else one["accuracy"])
    whole = {**best["changes"], "splits": "vtab1000"}
    recipe = options.recipe.override(whole)
    result = _trained(task, recipe, setting, folder / "run", console)
    return replace(
        result, details={**result.details, "chosen": best["changes"], "candidates": tried}
    )


def _read_candidate(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
        return {"changes": dict(content["changes"]), "accuracy": float(content["accuracy"])}
    except (ValueError, TypeError, KeyError) as error:
        raise MixerError(f"{file} is damaged: {error}. Remove it to train that again.") from error


def _for_task(recipe: Recipe, task: Task, setting: SuiteContext) -> Recipe:
    """Return a suite's recipe for the model and data at hand."""
    return recipe.override(
        {
            "start_from": setting.source,
            "data": task.data,
            "device": str(setting.runtime.device),
            "workers": setting.options.workers,
            "max_unreadable": setting.options.max_unreadable,
        }
    )


def _runtime(recipe: Recipe, setting: SuiteContext) -> Runtime:
    """Return where to train: on the suite's device, in the recipe's precision."""
    precision = choose_precision(recipe.compute.precision, setting.runtime.device)
    return replace(setting.runtime, precision=precision)


def _check_training(recipe: Recipe, task: Task, setting: SuiteContext) -> None:
    """Raise UsageError where a training cannot be done."""
    plan(_for_task(recipe, task, setting), _runtime(recipe, setting))


def _trained(
    task: Task, recipe: Recipe, setting: SuiteContext, run: Path, console: Console
) -> TaskResult:
    """Train, or go on with a training that was interrupted, and return what it reached."""
    recipe = _for_task(recipe, task, setting)
    outcome = train_once(recipe, run, console, _runtime(recipe, setting))
    kept = ("split", "metrics", "steps", "training_seconds", "run")
    return replace(
        blank(task),
        accuracy=outcome["accuracy"],
        images=outcome["images"],
        details={name: outcome[name] for name in kept},
    )


def _label_file(labels: str | None, console: Console) -> Path | None:
    """Return where a file of label sets lies; None, and say so, if it is not there."""
    if labels is None:
        return None
    path = _find(labels)
    if path is None:
        console.warning(f"no multi-label column: put its file at {data_home() / labels}.")
    return path


def _label_sets(labels: str | None) -> list[list[int]] | None:
    """Return the label sets of a file; None where it is not there.

    Raises:
        UsageError: it is of another form.
    """
    path = None if labels is None else _find(labels)
    return None if path is None else read_label_sets(path)


def _find(labels: str) -> Path | None:
    places = (Path(labels).expanduser(), data_home() / labels)
    return next((path for path in places if path.exists()), None)
