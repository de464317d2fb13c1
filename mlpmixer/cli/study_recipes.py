"""`mixer study recipes`: which training options help my data?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlpmixer.cli.options import parse
from mlpmixer.cli.study_options import StudyOptions
from mlpmixer.cli.study_steps import carry_out
from mlpmixer.cli.table import print_table
from mlpmixer.values import Count, Factor, Positive, Repetitions

if TYPE_CHECKING:
    from mlpmixer.run.console import Console
    from mlpmixer.studies.grid import Grid
    from mlpmixer.studies.recipes import RecipeStudy


@dataclass(frozen=True, kw_only=True)
class RecipesCommand(StudyOptions):
    """Search for training options: many candidates for a short time, the best of them for longer.

    Candidates are told apart on validation images, never on test images. The winner is written to
    winner.toml in the study's folder, which `mixer train --recipe` takes.

    Examples:
      mixer study recipes --data photos/ --grid small_mixer --candidates 27 --epochs 30 \
--out runs/recipes
      mixer study recipes --data digits --recipe quick --grid small_mixer --candidates 6 \
--epochs 4 --out runs/digits-recipes
    """

    data: str
    """What to train on."""
    grid: str
    """What to vary: a TOML file of lists of values, or small_mixer."""
    candidates: Count | None = None
    """Combinations to draw from the grid at random; by default all."""
    steps: Count | None = None
    """Budget of a training in the last rung in steps."""
    epochs: Positive | None = None
    """Budget of a training in the last rung in passes over the images."""
    factor: Factor = 3
    """How many times fewer candidates, with so many times the budget, each rung has."""
    rungs: Repetitions = 3
    """Rungs at most; 1 trains all candidates with the whole budget."""


def run(arguments: Sequence[str]) -> int:
    """Run the study; returns the exit status."""
    command = parse(RecipesCommand, "study recipes", arguments)
    budget = command.one_budget("steps", "epochs")
    from mlpmixer.studies.option_grid import find_grid
    from mlpmixer.studies.recipes import recipe_study
    from mlpmixer.studies.recipes_report import report_recipes
    from mlpmixer.training.recipes import find_recipe

    study = recipe_study(
        find_recipe(command.recipe).override(
            {**command.overrides(), **budget, "data": command.data}
        ),
        find_grid(command.grid),
        candidates=command.candidates,
        factor=command.factor,
        rungs=command.rungs,
        seeds=command.seeds,
        runtime=command.runtime(),
    )
    return carry_out(study, command, report_recipes, "recipes", arguments, show_plan=_show_plan)


def _show_plan(study: "RecipeStudy", grid: "Grid", console: "Console", jobs: int) -> None:
    """Show every rung, what is done of it, and about how long the rest takes."""
    from mlpmixer.formatting import duration

    seconds = study.estimate()
    usual = sum(seconds.values()) / len(seconds)
    rows, records, total = [], [], 0.0
    for number, rung in enumerate(study.rungs):
        budget = study.budget(number)
        also = number > 0  # the recipe as it is may not be among the best, and goes with them
        trainings = (rung.candidates + also) * study.seeds
        done = sum(
            cell.values[study.unit] == budget and grid.result(cell) is not None
            for cell in grid.cells
        )
        needed = max(0, trainings - done) * usual * budget / study.budget(0)
        total += needed
        words = [str(number + 1), str(rung.candidates), f"{budget:g} {study.unit}"]
        rows.append([*words, str(done), str(trainings), duration(needed) if needed else ""])
        records.append(
            {
                "rung": number + 1,
                "candidates": rung.candidates,
                study.unit: budget,
                "trainings": trainings,
                "done": done,
                "seconds": needed,
            }
        )
    names = [one.name for one in study.candidates]
    record: dict[str, object] = {"candidates": names, "rungs": records, "seconds": total / jobs}
    header = ["rung", "candidates", "budget", "done", "of at most", "time"]
    footer = [
        f"about {duration(total / jobs)} of training; reading, validating and testing come on top."
    ]
    print_table(console, record, header, rows, footer, left=0)
