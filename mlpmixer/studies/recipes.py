"""A search for the training options that suit a data set, by successive halving.

Chosen on validation images alone. Each rung trains anew, with its own full schedule: in the middle
of a longer one the learning rate is high, and says little about where a candidate would end.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from statistics import fmean
from typing import Any

from mlpmixer.errors import UsageError
from mlpmixer.run.console import Console
from mlpmixer.run.directory import LAST
from mlpmixer.runtime import Runtime
from mlpmixer.studies.grid import Cell
from mlpmixer.studies.halving import Halving, Rung, plan_rungs
from mlpmixer.studies.option_grid import AS_IT_IS, Candidate, OptionGrid
from mlpmixer.studies.planned_cell import need_validation, planned_as, recipe_settings
from mlpmixer.training.estimate import training_seconds
from mlpmixer.training.finished_run import train_once
from mlpmixer.training.plan import plan
from mlpmixer.training.recipe import Recipe
from mlpmixer.values import Factor, Repetitions, check_ranges

MEASURE = "validation_accuracy"
_TIMED = 12
"""Candidates whose steps are timed for an estimate."""


@dataclass(frozen=True, kw_only=True)
class RecipeStudy:
    """What to search. `recipe_study` makes one.

    Raises:
        UsageError: a number is out of its range, or the recipe validates nothing.
    """

    recipe: Recipe
    """What the candidates change, with the budget of the last rung in steps or epochs."""
    options: OptionGrid
    candidates: tuple[Candidate, ...]
    """The first is the recipe as it is."""
    factor: Factor
    """How many times fewer candidates each rung has than the one before."""
    rungs: tuple[Rung, ...]
    seeds: Repetitions
    runtime: Runtime

    def __post_init__(self) -> None:
        check_ranges(self)
        if len(self.candidates) < 2:
            raise UsageError("the grid changes nothing in the recipe: give values that differ.")
        if not self.recipe.schedule.evaluations:
            raise UsageError("candidates are told apart on validation images: --evaluations 1.")

    @cached_property
    def by_name(self) -> Mapping[str, Candidate]:
        """The candidates by their names."""
        return {one.name: one for one in self.candidates}

    @property
    def unit(self) -> str:
        """What budgets are counted in."""
        return "epochs" if self.recipe.schedule.steps is None else "steps"

    def budget(self, rung: int) -> float | int:
        """Return the budget of a rung, by number from 0, in the study's unit."""
        schedule, share = self.recipe.schedule, self.rungs[rung].share
        if schedule.steps is not None:
            return max(1, round(schedule.steps * share))
        assert schedule.epochs is not None
        return round(schedule.epochs * share, 4)

    def recipe_of(self, name: str, rung: int) -> Recipe:
        """Return what a candidate trains by in a rung."""
        return self.recipe.override({**self.by_name[name].changes, self.unit: self.budget(rung)})

    def cells(self, name: str, rung: int) -> list[Cell]:
        """Return a candidate's trainings in a rung, one a seed."""
        recipe = self.recipe_of(name, rung)
        return [
            Cell(
                {"candidate": name, self.unit: self.budget(rung), "seed": seed},
                recipe_settings(recipe, "training"),
                partial(train_candidate, recipe.override({"seed": seed}), self.runtime),
            )
            for seed in range(self.seeds)
        ]

    def grid(self, out: Path) -> Halving:
        """Return the trainings, as far as they are decided by the results in `out`."""
        return Halving(
            out, self.rungs, list(self.by_name), self.cells, measure=MEASURE, always=AS_IT_IS
        )

    def check(self) -> None:
        """Find out whether all of it can be done.

        Raises:
            UsageError: a candidate does not fit the data, or there are no validation images.
        """
        for one in self.candidates:
            planned = planned_as(one.name, self.recipe_of(one.name, 0), self.runtime)
            need_validation(planned, "tell candidates apart")

    def estimate(self) -> dict[str, float]:
        """Return about how many seconds each training of the first rung takes, by the cell's name.

        Of many candidates some are timed; the others are taken to be as quick on average.
        """
        step = -(-len(self.candidates) // _TIMED)
        timed = {
            one.name: training_seconds(plan(self.recipe_of(one.name, 0), self.runtime))
            for one in self.candidates[::step]
        }
        usual = fmean(timed.values())
        return {
            cell.name: timed.get(one.name, usual)
            for one in self.candidates
            for cell in self.cells(one.name, 0)
        }


def recipe_study(
    recipe: Recipe,
    options: OptionGrid,
    *,
    candidates: int | None,
    factor: int,
    rungs: int,
    seeds: int,
    runtime: Runtime,
) -> RecipeStudy:
    """Return a search.

    Args:
        recipe: what the candidates change, with the budget of the last rung.
        options: what is varied.
        candidates: combinations to draw at random; None takes all.
        factor: how many times fewer candidates, with more budget, each rung has.
        rungs: at most so many.
        seeds: trainings of each candidate in each rung.
        runtime: where to train.

    Raises:
        UsageError: the options are no recipes or change nothing, or there are too many.
    """
    found = options.candidates(recipe, candidates)
    return RecipeStudy(
        recipe=recipe,
        options=options,
        candidates=found,
        factor=factor,
        rungs=plan_rungs(len(found), factor, rungs),
        seeds=seeds,
        runtime=runtime,
    )


def train_candidate(
    recipe: Recipe, runtime: Runtime, folder: Path, console: Console
) -> Mapping[str, Any]:
    """Compute one cell: train, and return what the validation images say.

    The training also measures the test images, for its own report; that stays there.
    """
    run = folder / "training"
    outcome = train_once(recipe, run, console, runtime)
    shutil.rmtree(run / LAST, ignore_errors=True)  # nothing is left to resume
    return {
        MEASURE: outcome["validation_accuracy"],
        "validation_images": outcome["validation_images"],
        "steps": outcome["steps"],
        "seconds": outcome["training_seconds"],
    }


def main_effects(
    study: RecipeStudy, grid: Halving
) -> dict[str, list[tuple[Mapping[str, Any], list[float]]]]:
    """Return each choice of each axis, with the accuracies of those that took it in the first rung.

    They are means over the seeds, in [0, 1]. As all values of the other options stand behind a
    choice, their mean says more than two candidates do.
    """
    found: dict[str, list[tuple[Mapping[str, Any], list[float]]]] = {}
    for axis, (name, choices) in enumerate(study.options.axes.items()):
        if len(choices) < 2:
            continue
        found[name] = [(fields, []) for fields in choices]
        for one in study.candidates:
            accuracies = grid.accuracies(one.name, 0)
            if accuracies is not None and one.places is not None:
                found[name][one.places[axis]][1].append(fmean(accuracies))
    return found
