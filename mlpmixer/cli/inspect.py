"""`mixer inspect`: look inside: weights, layers, what predictions rest on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from mlpmixer.cli.measuring import MeasuringOptions
from mlpmixer.cli.options import parse
from mlpmixer.values import Count


@dataclass(frozen=True, kw_only=True)
class InspectCommand:
    """Look inside a model: learned weights, what a prediction rests on, what each layer adds.

    Writes one page with all figures, and the figures and their data into folders beside it.

    Examples:
      mixer inspect runs/digits
      mixer inspect runs/photos --picture photo.jpg
      mixer inspect Mixer-B_16.npz --data photos/ --images 64 --out mixer-b16
    """

    model: Annotated[Positional[str], arg(metavar="RUN")]
    """A run directory, a checkpoint, or hf-hub:user/name."""
    picture: Annotated[tuple[Path, ...], arg(help_behavior_hint="")] = ()
    """Image files to explain the predictions for; by default some unseen images of the data."""
    data: str | None = None
    """Images to follow through the layers, as for training; by default what it was trained on."""
    images: Count = 256
    """How many images to follow."""
    out: Path | None = None
    """Folder of the page; by default RUN/inspect for a run directory, else inspect-NAME."""
    measuring: MeasuringOptions = field(default_factory=MeasuringOptions)


def run(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit status."""
    command = parse(InspectCommand, "inspect", arguments)
    from mlpmixer.inspect.inspection import inspect_model
    from mlpmixer.run.console import Console
    from mlpmixer.runtime import Runtime

    console = Console.choose(command.measuring.json)
    inspected = inspect_model(
        command.model,
        pictures=command.picture,
        data=command.data,
        images=command.images,
        out=command.out,
        options=command.measuring.data_options(),
        runtime=Runtime.choose(command.measuring.device, command.measuring.precision),
        console=console,
    )
    lines = [*dict.fromkeys(inspected.contents.notes.values()), f"page: {inspected.page}"]
    console.result(inspected.to_json(), "\n".join(lines))
    return 0
