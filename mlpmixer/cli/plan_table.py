"""What of a model's training fits on some GPUs, as `mixer info MODEL --plan` shows it."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from mlpmixer.cli.table import print_table
from mlpmixer.formatting import counted
from mlpmixer.values import Count, Positive, ShareNotOne

if TYPE_CHECKING:
    from mlpmixer.models.interface import ImageModel
    from mlpmixer.run.console import Console
    from mlpmixer.training.resource_plan import ResourcePlan, StepSetting


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """The training and the GPUs that --plan is about."""

    plan: bool = False
    """Show what a training step takes on each GPU, and the first setting that fits."""
    gpus: Count = 1
    """GPUs that share a batch."""
    memory: Positive = 80.0
    """Memory of each GPU in GB, a tenth of which is left to its libraries."""
    batch_size: Count = 1024
    """Images a step, over all GPUs."""
    optimizer: Literal["adamw", "sgd", "muon"] = "adamw"
    """How the weights will be moved."""
    ema: ShareNotOne = 0.0
    """Decay of averaged weights; 0 has none."""
    tflops: Positive = 100.0
    """Trillions of floating-point operations a second that each GPU sustains in training."""


def show_plan(model: "ImageModel", options: PlanOptions, console: "Console") -> None:
    """Print the plan.

    Raises:
        UsageError: the batch cannot be split over the GPUs.
    """
    from mlpmixer.training.recipe import OptimizerOptions
    from mlpmixer.training.resource_plan import RESERVE, plan_resources

    training = OptimizerOptions(
        batch_size=options.batch_size, optimizer=options.optimizer, ema=options.ema
    )
    found = plan_resources(
        model,
        training,
        devices=options.gpus,
        device_bytes=options.memory * 1e9,
        operations=options.tflops * 1e12,
    )
    header = (
        "setting",
        "",
        "weights",
        "optimizer",
        "EMA",
        "gradients",
        "activations",
        "GB",
        "a day",
    )
    rows = [_row(setting) for setting in found.settings]
    footer = [
        f"{found.model}, {counted(found.batch_size, 'image')} a step, "
        f"{found.batch_size // found.devices:,} on each of "
        f"{counted(found.devices, 'GPU')} of {options.memory:g} GB, {RESERVE:.0%} of it left free",
        "Gradients that are made while activations go away count with these. Steps a day at "
        f"{options.tflops:g} TFLOP/s a GPU, reading and sending left out.",
        _advice(found),
    ]
    record = asdict(found)
    for one, setting in zip(record["settings"], found.settings, strict=True):
        one["memory"]["total"] = setting.memory.total
    print_table(console, record, header, rows, footer, left=2)


def _row(setting: "StepSetting") -> tuple[str, ...]:
    memory = setting.memory
    parts = (memory.weights, memory.optimizer, memory.average, memory.gradients, memory.activations)
    numbers = [f"{part / 1e9:,.1f}" for part in (*parts, memory.total)]
    return (
        _named(setting),
        "fits" if setting.fits else "",
        *numbers,
        f"{setting.steps_per_day:,.0f}",
    )


def _named(setting: "StepSetting") -> str:
    said = [setting.precision]
    if setting.recompute:
        said.append("checkpointing")
    if setting.sharded:
        said.append("sharded")
    if setting.accumulate > 1:
        said.append(f"{setting.accumulate} parts")
    return ", ".join(said)


def _advice(found: "ResourcePlan") -> str:
    if found.chosen is None:
        return "Nothing here fits: take more or larger GPUs, a smaller image or a smaller model."
    setting = found.settings[found.chosen]
    options = [f"--precision {setting.precision}"]
    if setting.recompute:
        options.append("--grad-checkpointing")
    if setting.accumulate > 1:
        options.append(f"--accumulate {setting.accumulate}")
    if setting.sharded:
        options.append("--shard always")
    return f"It fits by {' '.join(options)}."
