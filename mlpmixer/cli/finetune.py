"""`mixer finetune`: train on from a checkpoint, at any resolution."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from tyro.conf import arg

from mlpmixer.cli.options import given
from mlpmixer.cli.train import RECIPE_HELP, TrainCommand, parse_command, run_command
from mlpmixer.errors import UsageError

SHARES_WORK = True


@dataclass(frozen=True, kw_only=True)
class FinetuneCommand(TrainCommand):
    """Train on from a checkpoint, for other images, classes or another resolution.

    Examples:
      mixer finetune --from runs/digits --data digits --steps 100 --batch-size 64
      mixer finetune --from Mixer-B_16.npz --data photos/ --image-size 320 --minutes 30
      mixer finetune --from runs/photos --data other/ --train-last 0 --steps 500
    """

    recipe: Annotated[str, arg(help=RECIPE_HELP)] = "finetune"
    source: Annotated[str | None, arg(name="from")] = None
    """Start from this checkpoint, run directory or hf-hub:user/name. Where the classes are those
    that it knows, its head is kept."""


def run(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit status."""
    named = given(arguments)
    command = parse_command(FinetuneCommand, "finetune", arguments, named)
    start = command.source or command.fields.model.start_from
    if command.resume is None and start is None:
        raise UsageError("--from is missing: name the checkpoint to start from.")
    fields = command.fields.override({"start_from": start}) if start else command.fields
    return run_command(replace(command, fields=fields), "finetune", arguments)
