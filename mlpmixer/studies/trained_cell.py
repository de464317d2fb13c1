"""A training as a part of a cell: done once, continued where it was interrupted."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlpmixer.errors import MixerError, Terminated, UsageError
from mlpmixer.files import write_json
from mlpmixer.run.console import Console
from mlpmixer.run.directory import RunDirectory
from mlpmixer.runtime import Runtime
from mlpmixer.training.inventory import ChangedData
from mlpmixer.training.plan import Plan, plan
from mlpmixer.training.recipe import Recipe
from mlpmixer.training.train import train

OUTCOME = "outcome.json"
_WITHOUT_INFLUENCE = ("workers", "cache", "max_unreadable")


def recipe_settings(recipe: Recipe, name: str) -> dict[str, Any]:
    """Return what of a recipe has influence on a result, as "NAME.FIELD": value."""
    values = {field: value for group in asdict(recipe).values() for field, value in group.items()}
    return {
        f"{name}.{field}": value
        for field, value in values.items()
        if field not in _WITHOUT_INFLUENCE
    }


def planned_as(name: str, recipe: Recipe, runtime: Runtime) -> Plan:
    """Return the plan of a training.

    Raises:
        UsageError: it cannot be done; the message begins with `name`.
    """
    try:
        return plan(recipe, runtime)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error


def need_validation(planned: Plan, purpose: str) -> None:
    """Raise UsageError where a training has no validation images, which are there to `purpose`."""
    if "validation" not in planned.dataset.splits:
        raise UsageError(
            f"{planned.recipe.data.data} has no validation images to {purpose} by: set "
            "validation_fraction = 0.1 in the recipe file that --recipe names."
        )


def trained(recipe: Recipe, run: Path, console: Console, runtime: Runtime) -> dict[str, Any]:
    """Train by a recipe in the run directory `run`, unless that is done; returns the outcome.

    Raises:
        MixerError: the data or the training failed, or the stored outcome is damaged.
        KeyboardInterrupt: the training was interrupted and its state saved.
    """
    file = run / OUTCOME
    if file.exists():
        try:
            outcome: dict[str, Any] = json.loads(file.read_text())
        except ValueError as error:
            raise MixerError(f"{file} is damaged ({error}): remove the folder {run}.") from error
        return outcome
    begun = RunDirectory(run).resumable
    if begun:
        recipe = Recipe.from_toml(run / "recipe.toml")
    elif run.exists():
        shutil.rmtree(run)  # stopped before there was anything to continue
    try:
        outcome = dict(train(recipe, run, console, runtime, resume=begun))
    except ChangedData as error:
        raise UsageError(f"{error} Put it back, or remove the folder {run}.") from error
    if not outcome["finished"]:
        raise KeyboardInterrupt if outcome["stopped_by"] == "SIGINT" else Terminated
    write_json(file, outcome)
    return outcome


def validation_course(run: Path) -> list[dict[str, Any]]:
    """Return what was recorded at each validation of a training: step, seconds, accuracy."""
    records = RunDirectory.open(run).records()
    return [record for record in records if "validation_accuracy" in record]
