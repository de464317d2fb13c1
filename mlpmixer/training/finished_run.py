"""A training that is done once: continued where it was interrupted, its outcome kept beside it."""

import json
import shutil
from pathlib import Path
from typing import Any

from mlpmixer.errors import MixerError, Terminated, UsageError
from mlpmixer.files import write_json
from mlpmixer.run.console import Console
from mlpmixer.run.directory import RunDirectory
from mlpmixer.runtime import Runtime
from mlpmixer.training.inventory import ChangedData
from mlpmixer.training.recipe import Recipe
from mlpmixer.training.train import train

OUTCOME = "outcome.json"


def train_once(recipe: Recipe, run: Path, console: Console, runtime: Runtime) -> dict[str, Any]:
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
