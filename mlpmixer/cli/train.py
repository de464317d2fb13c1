"""`mixer train`: train a model from scratch and report on it."""

import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from tyro.conf import arg

from mlpmixer.cli.learning_rate_range import run_range_test
from mlpmixer.cli.options import given, parse
from mlpmixer.errors import MixerError, Terminated, UsageError
from mlpmixer.training.recipe import BUDGETS, Recipe
from mlpmixer.training.recipes import find_recipe, purposes
from mlpmixer.values import flag

if TYPE_CHECKING:
    from mlpmixer.ranks import Ranks

SHARES_WORK = True
DEFAULT_RECIPE = "small"
RECIPE_HELP = "\n".join(
    [
        "A TOML file, or one of these; every field of it can be given as an option.",
        *(f"{name}: {purpose}" for name, purpose in purposes().items()),
    ]
)

WHILE_RESUMING = {
    *("resume", "json", "no_json"),
    *("allow_changed_data", "no_allow_changed_data"),
}
"""The options that go with --resume; all others are the run's own."""


@dataclass(frozen=True, kw_only=True)
class TrainCommand:
    """Train a model from scratch, evaluate it and write a report.

    Examples:
      mixer train --recipe quick --data digits --out runs/digits
      mixer train --data photos/ --model mixer_micro --image-size 64 --minutes 30
      mixer train --recipe quick --data digits --teacher runs/digits --model mixer_micro
      mixer train --resume runs/digits
      mixer train --data photos/ --balance sampling --patience 3 --batch-size auto --epochs 30
      mixer train --data photos/ --find-learning-rate
    """

    recipe: Annotated[str, arg(help=RECIPE_HELP)] = DEFAULT_RECIPE
    out: Path | None = None
    """The run directory; by default a new one under runs/."""
    resume: Path | None = None
    """Continue the interrupted run in this directory, by its own recipe."""
    allow_changed_data: bool = False
    """Resume though images were added, removed or labelled anew since the run was stopped."""
    find_learning_rate: bool = False
    """Train nothing: take up to 200 steps at rising learning rates, draw the loss and suggest a
    learning rate (a range test, arXiv 1506.01186)."""
    json: bool = False
    """Print the outcome as JSON; messages go to standard error."""
    fields: Recipe = field(default_factory=Recipe)


def run(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit status."""
    named = given(arguments)
    command = parse_command(TrainCommand, "train", arguments, named)
    return run_command(command, "train", arguments)


def run_command(command: TrainCommand, verb: str, arguments: Sequence[str]) -> int:
    """Train as the command says, which `mixer VERB` was given by the arguments."""
    from mlpmixer.ranks import joined_ranks

    with joined_ranks() as ranks:
        return _run_on(ranks, command, verb, arguments)


def _run_on(ranks: "Ranks", command: TrainCommand, verb: str, arguments: Sequence[str]) -> int:
    from mlpmixer.run.console import Console
    from mlpmixer.run.directory import RunDirectory
    from mlpmixer.runtime import Runtime
    from mlpmixer.training.inventory import ChangedData
    from mlpmixer.training.train import train

    console = Console.choose(command.json) if ranks.leads else Console.silent()
    resumed = command.resume
    if resumed is not None:
        foreign = sorted(given(arguments) - WHILE_RESUMING)
        if foreign:
            raise UsageError(
                f"{flag(foreign[0])} cannot be changed while resuming: the run's "
                "own recipe holds. Leave it out, or start a new run with --recipe RUN/recipe.toml."
            )
        recipe = ranks.from_lead(lambda: Recipe.from_toml(RunDirectory.open(resumed).recipe))
        out = resumed
    else:
        if command.allow_changed_data:
            raise UsageError("--allow-changed-data belongs to --resume: leave it out.")
        recipe = command.fields
        out = command.out or ranks.from_lead(lambda: _new_directory(recipe))
    with ranks.together():
        runtime = Runtime.choose(recipe.compute.device, recipe.compute.precision, ranks)
    if command.find_learning_rate:
        return run_range_test(recipe, out, console, runtime, verb, arguments)
    try:
        outcome = train(
            recipe,
            out,
            console,
            runtime,
            resume=command.resume is not None,
            allow_changed_data=command.allow_changed_data,
        )
    except ChangedData as error:
        raise UsageError(
            f"{error} Put it back, or go on with it as it is by --allow-changed-data."
        ) from error
    if not outcome["finished"]:
        again = shlex.join(["mixer", "train", "--resume", outcome["run"]])
        console.message(f"stopped and saved; continue with: {again}")
        if ranks.leads and command.json:
            with suppress(OSError, MixerError):  # a reader that was stopped as well
                console.result(outcome, "")
        return 130 if outcome["stopped_by"] == "SIGINT" else Terminated.exit_status
    if ranks.leads:
        console.result(outcome, f"report: {outcome['report']}")
    return 0


Command = TypeVar("Command", bound=TrainCommand)


def parse_command(
    kind: type[Command], verb: str, arguments: Sequence[str], named: set[str]
) -> Command:
    """Parse twice: first for the recipe, then for what departs from it.

    Raises:
        UsageError: an option or the recipe is unknown, or there is more than one budget.
    """
    budgets = [f"--{name}" for name in BUDGETS if name in named]
    if len(budgets) > 1:
        raise UsageError(f"{' and '.join(budgets)}: give one budget, not {len(budgets)}.")
    first = parse(kind, verb, arguments)
    recipe = find_recipe(first.recipe)
    if budgets:
        recipe = recipe.override(dict.fromkeys(BUDGETS))
    if "warmup" in named:
        recipe = recipe.override({"warmup_steps": None})
    return parse(kind, verb, arguments, replace(first, fields=recipe))


def _new_directory(recipe: Recipe) -> Path:
    """Return runs/DATA-MODEL, with a number behind it where that is taken."""
    data = Path(recipe.data.data.rstrip("/").removeprefix("hf:")).name or "data"
    data = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in data)
    base = f"{data.strip('-')}-{recipe.model.model.replace(':', '-').replace('/', '-')}"
    path, number = Path("runs") / base, 1
    while path.exists():
        number += 1
        path = Path("runs") / f"{base}-{number}"
    return path
