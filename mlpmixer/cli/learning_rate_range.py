"""`--find-learning-rate` of train and finetune: a range test, and the command to go on with."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlpmixer.cli.options import without
from mlpmixer.training.recipe import Recipe
from mlpmixer.values import flag

if TYPE_CHECKING:
    from mlpmixer.ranks import Ranks
    from mlpmixer.run.console import Console
    from mlpmixer.runtime import Runtime

SUGGESTED = ("learning_rate", "matrix_learning_rate", "batch_size")
"""What a range test settles, in the order in which it is given to the training."""


def run_range_test(
    recipe: Recipe,
    out: Path,
    console: "Console",
    runtime: "Runtime",
    verb: str,
    arguments: Sequence[str],
) -> int:
    """Find a learning rate for the training that `mixer VERB` with the arguments makes.

    Returns:
        The exit status.
    """
    from mlpmixer.training.learning_rate_range import find_learning_rate

    found = find_learning_rate(recipe, out, console, runtime)
    if runtime.ranks.leads:
        values = {name: found[name] for name in SUGGESTED if name in found}
        if recipe.optimizer.batch_size != "auto":
            del values["batch_size"]  # it is in the recipe or among the arguments
        command = command_with(verb, arguments, {"out": out, **values}, runtime.ranks)
        alike = ""
        if "matrix_learning_rate" in found:
            alike = f", and {found['matrix_learning_rate']:g} for matrices"
        console.result(
            {**found, "command": command},
            f"suggested learning rate: {found['learning_rate']:g}{alike} ({found['figure']})\n"
            f"train with it by: {command}",
        )
    return 0


def command_with(
    verb: str, arguments: Sequence[str], values: Mapping[str, object], ranks: "Ranks"
) -> str:
    """Return the command that trains by the arguments, with other values of single options.

    Args:
        verb: of `mixer`.
        arguments: those of a range test.
        values: by the names of the options.
        ranks: that the test was made on, on one machine.
    """
    mixer = ["mixer"]
    if ranks.world > 1:
        mixer = ["torchrun", "--nproc-per-node", str(ranks.local_world), "-m", "mlpmixer"]
    kept = without(arguments, {"find_learning_rate", *values})
    given = [
        part
        for name, value in values.items()
        for part in (
            flag(name),
            f"{value:g}" if isinstance(value, float) else str(value),
        )
    ]
    return shlex.join([*mixer, verb, *kept, *given])
