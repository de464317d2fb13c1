"""How much each model gains from more pre-training data.

Section 3.3 of the paper (https://arxiv.org/abs/2105.01601): every model is pre-trained
on nested subsets of one data set, then judged on another one by the few-shot probe and by
fine-tuning.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import linregress, t

from mlpmixer.data.label_sets import ONE_CLASS_A_SHOT, need_one_label
from mlpmixer.data.options import DataOptions
from mlpmixer.data.protocol_splits import with_test
from mlpmixer.data.sources import open_source
from mlpmixer.errors import UsageError
from mlpmixer.evaluation.probe import probe
from mlpmixer.run.console import Console
from mlpmixer.runtime import Runtime
from mlpmixer.studies.grid import Cell, Grid
from mlpmixer.studies.planned_cell import planned_as, recipe_settings
from mlpmixer.training.estimate import step_seconds, training_seconds
from mlpmixer.training.finished_run import train_once
from mlpmixer.training.plan import Plan, plan
from mlpmixer.training.recipe import Recipe
from mlpmixer.training.schedule import Schedule
from mlpmixer.values import Count, Repetitions, ShareNotZero, check_ranges

SUPPORT_SETS = 3
"""Support sets of each few-shot probe."""
MEASURES = ("fewshot", "finetuned")


@dataclass(frozen=True, kw_only=True)
class ScaleStudy:
    """What to measure.

    Raises:
        UsageError: a list is empty, or a number is out of its range.
    """

    models: tuple[str, ...]
    fractions: tuple[ShareNotZero, ...]
    """Shares of the pre-training images, in (0, 1]."""
    seeds: Repetitions
    pretraining: Recipe
    """With its budget, in steps (the same for all subsets) or epochs (of each subset)."""
    finetuning: Recipe
    """With its budget; its data is the downstream set."""
    runtime: Runtime
    shots: Count = 5

    def __post_init__(self) -> None:
        check_ranges(self)
        if not self.models or not self.fractions:
            raise UsageError("there is nothing to compare: name at least one model and fraction.")

    def pretraining_recipe(self, model: str, fraction: float, seed: int) -> Recipe:
        """Return the recipe of one pre-training."""
        return self.pretraining.override({"model": model, "train_fraction": fraction, "seed": seed})

    def grid(self, out: Path) -> Grid:
        """Return the cells, the smallest subsets of all models first."""
        settings = {
            "shots": self.shots,
            **recipe_settings(self.pretraining, "pretraining"),
            **recipe_settings(self.finetuning, "finetuning"),
        }
        return Grid(
            out,
            [
                Cell(
                    {"model": model, "fraction": fraction, "seed": seed},
                    settings,
                    partial(pretrain_and_transfer, self, model, fraction, seed),
                )
                for seed in range(self.seeds)
                for fraction in sorted(self.fractions)
                for model in self.models
            ],
        )

    def check(self) -> None:
        """Find out whether all of it can be done.

        Raises:
            UsageError: a model does not fit the data, a subset is too small, or a class of the
                downstream set has too few images for the shots.
        """
        smallest = min(self.fractions)  # where it is enough, the larger ones are
        for model in self.models:
            name = f"{model}, fraction {smallest:g}"
            planned = planned_as(
                name, self.pretraining_recipe(model, smallest, seed=0), self.runtime
            )
            planned_as(f"{model}, fine-tuning", self._finetuning_like(planned), self.runtime)
        downstream = open_source(self.finetuning.data.data)
        if "train" not in downstream.splits:
            raise UsageError(f"{downstream.spec} has no training images to draw shots from.")
        need_one_label(downstream, ONE_CLASS_A_SHOT, "study transfer to other data")
        names = downstream.class_names
        drawn_from = with_test(downstream).splits["train"].labels
        counts = np.bincount(drawn_from, minlength=len(names))
        if (fewest := int(counts.min())) < self.shots:
            remedy = f"use --shots {fewest} or less" if fewest else "give other --downstream data"
            raise UsageError(
                f"class {names[int(counts.argmin())]!r} of {downstream.spec} has {fewest} training "
                f"images to draw from, fewer than {self.shots} shots: {remedy}."
            )

    def _finetuning_like(self, pretraining: Plan) -> Recipe:
        """Return the fine-tuning from fresh weights, before there are pre-trained ones."""
        shape = {**asdict(pretraining.recipe.model), "image_size": pretraining.model.image_size}
        return self.finetuning.override(shape)

    def estimate(self) -> dict[str, float]:
        """Return about how many seconds the trainings of each cell take, by the cell's name."""
        smallest = min(self.fractions)
        found: dict[tuple[str, float], float] = {}
        for model in self.models:
            planned = plan(self.pretraining_recipe(model, smallest, seed=0), self.runtime)
            images = len(planned.dataset.splits["train"])
            one_step = step_seconds(planned)
            finetuning = training_seconds(plan(self._finetuning_like(planned), self.runtime))
            for fraction in self.fractions:
                subset = round(images * fraction / smallest)
                steps = Schedule.of(self.pretraining, subset).steps
                assert steps is not None
                found[model, fraction] = steps * one_step + finetuning
        return {
            cell.name: found[str(cell.values["model"]), float(cell.values["fraction"] or 0)]
            for cell in self.grid(Path()).cells
        }


def pretrain_and_transfer(
    study: ScaleStudy, model: str, fraction: float, seed: int, folder: Path, console: Console
) -> Mapping[str, Any]:
    """Compute one cell: pre-train, probe, fine-tune; returns the accuracies, in [0, 1]."""
    run = folder / "pretraining"
    pretrained = train_once(
        study.pretraining_recipe(model, fraction, seed), run, console, study.runtime
    )
    probed = probe(
        str(run),
        study.finetuning.data.data,
        image_size=None,
        layer=None,
        shots=(study.shots,),
        seeds=SUPPORT_SETS,
        options=DataOptions(workers=study.finetuning.data.workers),
        runtime=study.runtime,
        keep=False,
        console=console,
    )
    recipe = study.finetuning.override({"start_from": str(run), "seed": seed})
    finetuned = train_once(recipe, folder / "finetuning", console, study.runtime)
    planned = plan(study.pretraining_recipe(model, fraction, seed), study.runtime)
    return {
        "images": len(planned.dataset.splits["train"]),
        "steps": pretrained["steps"],
        "upstream": pretrained["accuracy"],
        "fewshot": float(probed.result.mean[0]),
        "fewshot_spread": float(probed.result.spread[0]),
        "finetuned": finetuned["accuracy"],
        "pretraining_seconds": pretrained["training_seconds"],
        "finetuning_seconds": finetuned["training_seconds"],
    }


@dataclass(frozen=True)
class Slope:
    """The accuracy that tenfold pre-training data brings; shares in [0, 1]."""

    gain: float
    margin: float | None
    """Half the 95 % interval by the scatter around the line, which a curve widens too; None where
    two points alone determine the line."""


def slopes(rows: Sequence[Mapping[str, Any]], measure: str) -> dict[str, Slope]:
    """Return what each model gains by tenfold pre-training data.

    A straight line over the logarithm of the number of images, fitted by least squares to all rows
    of a model; a model with a single subset has none.
    """
    found = {}
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model]
        sizes = np.log10([row["images"] for row in own])
        if np.ptp(sizes) == 0:
            continue
        line = linregress(sizes, [row[measure] for row in own])
        free = len(own) - 2
        margin = float(t.ppf(0.975, free) * line.stderr) if free else None
        found[model] = Slope(float(line.slope), margin)
    return found
