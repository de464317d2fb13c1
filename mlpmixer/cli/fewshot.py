"""`mixer fewshot`: probe a representation with a few images a class."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from mlpmixer.cli.measuring import MeasuringOptions
from mlpmixer.cli.options import parse
from mlpmixer.errors import UsageError
from mlpmixer.files import check_writable
from mlpmixer.values import Count, Pixels, Repetitions

if TYPE_CHECKING:
    from mlpmixer.ranks import Ranks

SHARES_WORK = True


@dataclass(frozen=True, kw_only=True)
class FewShotCommand:
    """Probe a frozen representation: linear regression on a few images a class, as in the paper.

    Examples:
      mixer fewshot --from runs/digits --data digits
      mixer fewshot --from Mixer-B_16.npz --data pets --shots 1 5 --out pets.png
    """

    source: Annotated[str, arg(name="from")]
    """A run directory, a checkpoint, or hf-hub:user/name."""
    data: str
    """Where the images come from, as for training."""
    shots: tuple[Count, ...] = (1, 5, 10, 25)
    """Images a class; each number is a probe of its own."""
    seeds: Repetitions = 3
    """Support sets drawn for each number of shots."""
    layer: str | None = None
    """Another layer than the pooled representation, such as blocks.3; averaged over tokens."""
    image_size: tuple[Pixels, ...] | None = None
    """Input in pixels, one side or height and width; the model is moved to it."""
    out: Path | None = None
    """Write the figure, accuracy against shots, into this .png file."""
    keep: bool = True
    """Keep the features on the disk for the next probe of the same model and data."""
    measuring: MeasuringOptions = field(default_factory=MeasuringOptions)


def run(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit status."""
    command = parse(FewShotCommand, "fewshot", arguments)
    if command.out is not None:
        if command.out.suffix.lower() != ".png":
            raise UsageError(f"cannot draw into {command.out}: name a file that ends in .png.")
        check_writable(command.out)
    from mlpmixer.ranks import joined_ranks

    with joined_ranks() as ranks:
        return _probe(command, ranks)


def _probe(command: FewShotCommand, ranks: "Ranks") -> int:
    from mlpmixer.evaluation.probe import probe
    from mlpmixer.evaluation.ridge import FIXED_STRENGTH
    from mlpmixer.formatting import counted, percent

    console = command.measuring.console(ranks)
    probed = probe(
        command.source,
        command.data,
        image_size=command.image_size,
        layer=command.layer,
        shots=command.shots,
        seeds=command.seeds,
        options=command.measuring.data_options(),
        runtime=command.measuring.runtime(ranks),
        keep=command.keep,
        console=console,
    )
    result = probed.result
    lines = [
        f"{probed.model} on {probed.data}: {counted(probed.features, 'feature')}, "
        f"{counted(probed.classes, 'class', 'classes')}, {probed.split} images",
        f"shots  accuracy  spread  strength  at {FIXED_STRENGTH:g}",
    ]
    fixed = result.at_fixed_strength
    for row, count in enumerate(result.shots):
        lines.append(
            f"{count:>5}  {percent(result.mean[row], 2):>8}  {percent(result.spread[row], 2):>6}  "
            f"{result.strengths[result.best_strength[row]]:>8g}"
            + ("" if fixed is None else f"  {percent(fixed[row], 2):>7}")
        )
    console.result(probed.to_json(), "\n".join(lines))
    if command.out is not None and ranks.leads:
        from mlpmixer.report.figure_style import save_png
        from mlpmixer.report.probe_plots import accuracy_by_shots

        label = f"{probed.model} on {probed.data}"
        figure = accuracy_by_shots(result.shots, {label: (result.mean, result.spread)})
        save_png(figure, command.out)
        console.message(f"figure: {command.out}")
    return 0
