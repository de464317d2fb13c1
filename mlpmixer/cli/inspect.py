"""`mixer inspect`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from mlpmixer.cli.options import parse


@dataclass(frozen=True, kw_only=True)
class InspectCommand:
    """Look inside a model: learned weights, what a prediction rests on, what each layer adds.

    Writes one page with all figures, and the figures and their data into folders beside it.

    Examples:
      mixer inspect runs/digits
      mixer inspect runs/photos --picture photo.jpg
      mixer inspect Mixer-B_16.npz --data photos/ --images 64 --out mixer-b16
    """

    model: Positional[str]
    """A run directory, a checkpoint, or hf-hub:user/name."""
    picture: tuple[Path, ...] = ()
    """Image files to explain the predictions for; by default some unseen images of the data."""
    data: str | None = None
    """Images to follow through the layers, as for training; by default what it was trained on."""
    images: int = 256
    """How many images to follow."""
    out: Path | None = None
    """Folder of the page; by default RUN/inspect for a run directory, else inspect-NAME."""
    workers: int = 2
    """Processes that decode images."""
    max_unreadable: float = 0.01
    """Share of unreadable images above which to stop."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    json: bool = False
    """Print the main numbers as JSON; messages go to standard error."""


def run(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit status."""
    command = parse(InspectCommand, "inspect", arguments)
    from mlpmixer.data.options import DataOptions
    from mlpmixer.report.console import Console
    from mlpmixer.studies.inspection import inspect_model

    console = Console.choose(command.json)
    inspected = inspect_model(
        command.model,
        pictures=command.picture,
        data=command.data,
        images=command.images,
        out=command.out,
        options=DataOptions(workers=command.workers, max_unreadable=command.max_unreadable),
        device=command.device,
        console=console,
    )
    lines = [*dict.fromkeys(inspected.contents.notes.values()), f"page: {inspected.page}"]
    console.result(inspected.to_json(), "\n".join(lines))
    return 0
