"""`mixer eval`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from mlpmixer.cli.options import parse


@dataclass(frozen=True, kw_only=True)
class EvalCommand:
    """Measure a trained model on labelled images: accuracy, calibration, confusion, speed.

    Examples:
      mixer eval runs/digits
      mixer eval runs/flowers --data more-flowers/ --split test --json
    """

    model: Positional[Path]
    """A run directory, or a model file."""
    data: str | None = None
    """Where the images come from, as for training; by default what it was trained on."""
    split: Literal["train", "validation", "test"] | None = None
    """Which images; by default test, else validation, else all there are."""
    multi_labels: Path | None = None
    """A JSON file with a list of right classes for each image, such as ImageNet's ReaL labels."""
    batch_size: int = 256
    """Images a step."""
    workers: int = 2
    """Processes that decode images."""
    max_unreadable: float = 0.01
    """Share of unreadable images above which to stop."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    """Type of the matrix products; auto: bfloat16 where the hardware multiplies it."""
    json: bool = False
    """Print the measures as JSON; messages go to standard error."""


def run(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit status."""
    command = parse(EvalCommand, "eval", arguments)
    from mlpmixer.data.options import DataOptions
    from mlpmixer.evaluation.job import evaluate_model
    from mlpmixer.report.console import Console
    from mlpmixer.report.formatting import number, percent
    from mlpmixer.report.statistics import most_confused, wilson_interval

    console = Console.choose(command.json)
    measured = evaluate_model(
        command.model,
        data=command.data,
        split=command.split,
        options=DataOptions(workers=command.workers, max_unreadable=command.max_unreadable),
        multi_labels=command.multi_labels,
        batch_size=command.batch_size,
        device=command.device,
        precision=command.precision,
        console=console,
    )
    result = measured.evaluation
    low, high = wilson_interval(round(result.top1 * result.images), result.images)
    names = measured.class_names
    lines = [
        f"{measured.split} images of {measured.data}: {number(result.images)}",
        f"accuracy: {percent(result.top1, 2)} (95 % interval {percent(low)} to {percent(high)})",
    ]
    if len(names) > 5:
        lines.append(f"top-5 accuracy: {percent(result.top5, 2)}")
    if measured.multi_label_accuracy is not None:
        lines.append(f"multi-label accuracy: {percent(measured.multi_label_accuracy, 2)}")
    lines += [
        f"expected calibration error: {percent(result.calibration.expected_error, 2)}",
        f"speed: {number(result.images_per_second)} images/s",
    ]
    lines += [
        f"most confused: {names[one.true]} taken for {names[one.predicted]}, "
        f"{one.count} times ({percent(one.share)})"
        for one in most_confused(result.confusion, 3)
    ]
    console.result(measured.to_json(), "\n".join(lines))
    return 0
