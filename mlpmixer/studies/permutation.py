"""Which model minds if its input is shuffled.

Section 3.4 of the paper (https://arxiv.org/abs/2105.01601): each model is trained from
scratch on untouched images, on images whose patches and whose pixels within the patches are
shuffled, and on images whose pixels are all shuffled, each by one fixed permutation. For a Mixer
the first two are the same problem.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from mlpmixer.errors import UsageError
from mlpmixer.run.console import Console
from mlpmixer.runtime import Runtime
from mlpmixer.studies.difference import Difference, paired_difference
from mlpmixer.studies.grid import Cell, Grid
from mlpmixer.studies.planned_cell import need_validation, planned_as, recipe_settings
from mlpmixer.training.estimate import training_seconds
from mlpmixer.training.finished_run import train_once, validation_course
from mlpmixer.training.plan import plan
from mlpmixer.training.recipe import Recipe
from mlpmixer.values import Repetitions, check_ranges

INPUTS: dict[str, str | None] = {"untouched": None, "patches": "patches", "pixels": "pixels"}
"""The three inputs, and the `input_shuffle` of a recipe that makes each."""


@dataclass(frozen=True, kw_only=True)
class PermutationStudy:
    """What to measure.

    Raises:
        UsageError: there is no model, or a number is out of its range.
    """

    models: tuple[str, ...]
    seeds: Repetitions
    training: Recipe
    """With its budget."""
    runtime: Runtime

    def __post_init__(self) -> None:
        check_ranges(self)
        if not self.models:
            raise UsageError("there is nothing to compare: name at least one model.")

    def recipe(self, model: str, kind: str, seed: int) -> Recipe:
        """Return the recipe of one training."""
        shuffle = INPUTS[kind]
        fields = {"model": model, "input_shuffle": shuffle, "seed": seed}
        if shuffle is None:
            fields["shuffle_patch_size"] = None
        return self.training.override(fields)

    def grid(self, out: Path) -> Grid:
        """Return the cells, seed by seed, with their results in the folder `out`."""
        return Grid(
            out,
            [
                Cell(
                    {"model": model, "input": kind, "seed": seed},
                    recipe_settings(self.training, "training"),
                    partial(train_on, self.recipe(model, kind, seed), self.runtime),
                )
                for seed in range(self.seeds)
                for model in self.models
                for kind in INPUTS
            ],
        )

    def check(self) -> None:
        """Find out whether all of it can be done.

        Raises:
            UsageError: a model does not fit the data, or nothing is validated on the way.
        """
        if not self.training.schedule.evaluations:
            raise UsageError("courses are compared at validations: --evaluations 1 or more.")
        for model in self.models:
            for kind in INPUTS:
                name = f"{model}, {kind}"
                planned = planned_as(name, self.recipe(model, kind, seed=0), self.runtime)
                need_validation(planned, "follow the courses")

    def estimate(self) -> dict[str, float]:
        """Return about how many seconds each training takes, by the cell's name."""
        seconds = {
            model: training_seconds(plan(self.recipe(model, "untouched", seed=0), self.runtime))
            for model in self.models
        }
        cells = self.grid(Path()).cells
        return {cell.name: seconds[str(cell.values["model"])] for cell in cells}


def train_on(recipe: Recipe, runtime: Runtime, folder: Path, console: Console) -> Mapping[str, Any]:
    """Compute one cell: train; returns the accuracy and its course, in [0, 1]."""
    run = folder / "training"
    outcome = train_once(recipe, run, console, runtime)
    return {
        "accuracy": outcome["accuracy"],
        "test_images": outcome["images"],
        "steps": outcome["steps"],
        "seconds": outcome["training_seconds"],
        "course": [[one["step"], one["validation_accuracy"]] for one in validation_course(run)],
    }


def difference(rows: Sequence[Mapping[str, Any]], model: str, kind: str) -> Difference | None:
    """Compare a model's accuracies on the untouched and on a shuffled input.

    Returns:
        How much less accurate it is on the shuffled one, see `paired_difference`; None where one of
        the two inputs has no result.
    """
    untouched = {r["seed"]: r for r in rows if r["model"] == model and r["input"] == "untouched"}
    shuffled = {r["seed"]: r for r in rows if r["model"] == model and r["input"] == kind}
    seeds = sorted(set(untouched) & set(shuffled))
    if not seeds:
        return None
    one, other = ([found[seed]["accuracy"] for seed in seeds] for found in (untouched, shuffled))
    return paired_difference(one, other, untouched[seeds[0]]["test_images"])


@dataclass(frozen=True)
class CoursesApart:
    """How far two trainings are apart at their validations, on average; shares in [0, 1]."""

    inputs: float
    """On untouched and on shuffled images, by the same seed."""
    seeds: float | None
    """By two seeds on untouched images; None where there is one."""


def courses_apart(rows: Sequence[Mapping[str, Any]], model: str, kind: str) -> CoursesApart | None:
    """Compare the whole courses of a model's trainings, and not where they end alone.

    Returns:
        The mean absolute difference of validation accuracies; None where one of the two inputs
        has no result.
    """
    own = [row for row in rows if row["model"] == model]
    untouched = {row["seed"]: row["course"] for row in own if row["input"] == "untouched"}
    shuffled = {row["seed"]: row["course"] for row in own if row["input"] == kind}
    both = [seed for seed in untouched if seed in shuffled]
    if not both:
        return None
    others = [_apart(one, other) for one, other in combinations(untouched.values(), 2)]
    return CoursesApart(
        fmean(_apart(untouched[seed], shuffled[seed]) for seed in both),
        fmean(others) if others else None,
    )


def _apart(one: Sequence[tuple[int, float]], other: Sequence[tuple[int, float]]) -> float:
    steps, accuracies = np.array(one).T
    # Trainings with a budget in minutes are validated at steps of their own.
    return float(np.abs(accuracies - np.interp(steps, *np.array(other).T)).mean())
