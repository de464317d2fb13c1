"""The families side by side, each trained with the same budget.

After the main results of the paper (section 3.1 of https://arxiv.org/abs/2105.01601). It asks three
numbers of a model: its accuracy, its throughput, and what its training costs.
"""

import multiprocessing
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mlpmixer.errors import UsageError
from mlpmixer.evaluation.throughput import throughput
from mlpmixer.formatting import counted
from mlpmixer.models.model_summary import TRAINING_FLOPS_PER_MAC, count_macs, count_parameters
from mlpmixer.run.console import Console
from mlpmixer.runtime import Runtime, peak_memory
from mlpmixer.studies.grid import Cell, Grid
from mlpmixer.studies.planned_cell import planned_as, recipe_settings
from mlpmixer.training.estimate import step_seconds, training_seconds
from mlpmixer.training.finished_run import train_once, validation_course
from mlpmixer.training.plan import plan
from mlpmixer.training.recipe import Recipe
from mlpmixer.values import Repetitions, check_ranges

_OF_THE_SPEED = ("training.model", "training.image_size", "training.device", "training.precision")
"""Settings that decide on how fast a model answers."""


@dataclass(frozen=True, kw_only=True)
class ComparisonStudy:
    """What to measure. `comparison_study` makes one.

    Raises:
        UsageError: there is no model, or a number is out of its range.
    """

    recipes: Mapping[str, Recipe]
    """By model, each with its budget."""
    seeds: Repetitions
    runtime: Runtime

    def __post_init__(self) -> None:
        check_ranges(self)
        if not self.recipes:
            raise UsageError("there is nothing to compare: name at least one model.")

    def grid(self, out: Path) -> Grid:
        """Return the trainings, seed by seed, and before them the one cell of all throughputs."""
        return Grid(
            out,
            [
                Cell(
                    {"model": model, "seed": seed},
                    recipe_settings(recipe, "training"),
                    partial(train_and_count, recipe.override({"seed": seed}), self.runtime),
                )
                for seed in range(self.seeds)
                for model, recipe in self.recipes.items()
            ],
            first=[self._throughput_cell()],
        )

    def _throughput_cell(self) -> Cell:
        settings = {
            f"{model}.{name}": value
            for model, recipe in self.recipes.items()
            for name, value in recipe_settings(recipe, "training").items()
            if name in _OF_THE_SPEED
        }
        return Cell(
            {"what": "throughput"}, settings, partial(time_models, self.recipes, self.runtime)
        )

    def check(self) -> None:
        """Find out whether all of it can be done.

        Raises:
            UsageError: a model does not fit the data.
        """
        for model, recipe in self.recipes.items():
            planned_as(model, recipe, self.runtime)

    def estimate(self) -> dict[str, float]:
        """Return about how many seconds each training takes, by the cell's name."""
        seconds = {
            model: training_seconds(plan(recipe, self.runtime))
            for model, recipe in self.recipes.items()
        }
        cells = self.grid(Path()).cells
        return {cell.name: seconds[str(cell.values["model"])] for cell in cells}


def comparison_study(
    models: Sequence[str],
    seeds: int,
    training: Recipe,
    runtime: Runtime,
    flops: float | None = None,
) -> ComparisonStudy:
    """Return the study of these models.

    Args:
        models: names of `create_model`.
        seeds: trainings of each.
        training: the recipe, with its budget unless `flops` are given.
        runtime: where to train and measure.
        flops: floating-point operations that each training may take; they become steps by the
            model's multiply-accumulates, TRAINING_FLOPS_PER_MAC for each.

    Raises:
        UsageError: a model does not fit the data, or the FLOPs are not enough for a step.
    """
    if flops is None:
        recipes = {model: training.override({"model": model}) for model in models}
        return ComparisonStudy(recipes=recipes, seeds=seeds, runtime=runtime)
    recipes = {}
    for model in models:
        recipe = training.override({"model": model, "steps": 1})
        macs = count_macs(planned_as(model, recipe, runtime).model)
        one_step = TRAINING_FLOPS_PER_MAC * macs * recipe.optimizer.images_a_step
        if flops < one_step:
            raise UsageError(
                f"--flops {flops:g} is less than one step of {model}, {one_step:.2g}: give more."
            )
        recipes[model] = recipe.override({"steps": round(flops / one_step)})
    return ComparisonStudy(recipes=recipes, seeds=seeds, runtime=runtime)


def train_and_count(
    recipe: Recipe, runtime: Runtime, folder: Path, console: Console
) -> Mapping[str, Any]:
    """Compute one cell: train, and say what it took.

    The course holds core-hours and validation accuracy, in [0, 1], on the way.
    """
    run = folder / "training"
    outcome = train_once(recipe, run, console, runtime)
    model = plan(recipe, runtime).model
    units = 1 if runtime.device.type == "cuda" else torch.get_num_threads()
    course = validation_course(run)
    return {
        "accuracy": outcome["accuracy"],
        "test_images": outcome["images"],
        "top5": outcome["metrics"]["top5"],
        "steps": outcome["steps"],
        "seconds": outcome["training_seconds"],
        "core_hours": outcome["training_seconds"] * units / 3600,
        "classes": model.num_classes,
        "course": [[one["seconds"] * units / 3600, one["validation_accuracy"]] for one in course],
        "parameters": count_parameters(model),
        "gmacs": count_macs(model) / 1e9,
        "training_memory_bytes": in_a_fresh_process(training_memory, recipe, runtime),
    }


def training_memory(recipe: Recipe, runtime: Runtime) -> int:
    """Return the most memory that a few training steps take in this process, images left out."""
    step_seconds(plan(recipe, runtime))
    return peak_memory(runtime.device)


def in_a_fresh_process(work: Any, *arguments: Any) -> Any:
    """Return what `work` returns in a process of its own, whose largest memory is its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(work, *arguments).result()


def time_models(
    recipes: Mapping[str, Recipe], runtime: Runtime, folder: Path, console: Console
) -> Mapping[str, Any]:
    """Compute the cell of the throughputs: all models in turn."""
    models = {name: plan(recipe, runtime).model for name, recipe in recipes.items()}
    console.message(f"throughput of {counted(len(models), 'model')} in turn")
    found = throughput(models, runtime)
    return {
        model: {
            "images_per_second": one.images_per_second,
            "batch_size": one.batch_size,
            "rounds": list(one.rounds),
        }
        for model, one in found.items()
    }


def pareto_front(points: Iterable[tuple[str, float, float]]) -> list[str]:
    """Return the names that no other point beats, from cheap to dear.

    `points` are name, cost and accuracy; a point is beaten by one that costs no more and is more
    accurate, or costs less and is as accurate.
    """
    best, kept = float("-inf"), []
    for name, _, accuracy in sorted(points, key=lambda one: (one[1], -one[2])):
        if accuracy > best:
            best = accuracy
            kept.append(name)
    return kept
