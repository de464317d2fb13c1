"""`mixer info`: list models, show one (layers, parameters, GMACs), or the machine."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from mlpmixer.cli.model_argument import is_stored
from mlpmixer.cli.options import parse
from mlpmixer.cli.plan_table import PlanOptions, show_plan
from mlpmixer.cli.table import print_table
from mlpmixer.errors import UsageError
from mlpmixer.formatting import counted, memory, size_text
from mlpmixer.models.costs import listed_costs
from mlpmixer.values import Classes, Pixels

if TYPE_CHECKING:
    from mlpmixer.models.interface import ImageModel
    from mlpmixer.models.model_summary import Layer, ModelSummary
    from mlpmixer.run.console import Console


@dataclass(frozen=True, kw_only=True)
class InfoCommand:
    """Show a model layer by layer, with its parameters, multiplications and memory.

    Without a name: list all models.

    Examples:
      mixer info
      mixer info mixer_b16
      mixer info Mixer-B_16.npz
      mixer info vit_nano --image-size 64 --num-classes 100 --json
      mixer info mixer_h14 --plan --gpus 8 --memory 80 --batch-size 4096
      mixer info --machine
    """

    name: Annotated[Positional[str | None], arg(metavar="[NAME]")] = None
    """A name from the list, timm:NAME, a checkpoint, a run directory, or hf-hub:user/name."""
    image_size: tuple[Pixels, ...] | None = None
    """Input in pixels, one side or height and width; by default the model's own."""
    num_classes: Classes | None = None
    """Number of logits; by default the model's own."""
    all: bool = False
    """Show every layer by itself, also where many are alike."""
    machine: bool = False
    """Show this machine instead: kernels, engines, limits, and what was timed on it."""
    json: bool = False
    """Print JSON."""
    training: PlanOptions = field(default_factory=PlanOptions)


def run(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit status."""
    command = parse(InfoCommand, "info", arguments)
    size = command.image_size
    if size is not None and len(size) not in (1, 2):
        raise UsageError(f"image size {size}: give one side, or height and width, in pixels.")
    if command.machine and len(arguments) > 1 + command.json:
        raise UsageError("--machine is about no model: leave all but --json out.")
    if command.training != PlanOptions(plan=command.training.plan) and not command.training.plan:
        raise UsageError("GPUs and a training are given: add --plan to see what fits.")
    if command.name is None and command.training.plan:
        raise UsageError("name a model to plan for, as in `mixer info mixer_h14 --plan --gpus 8`.")
    if command.name is None and (size, command.num_classes, command.all) != (None, None, False):
        raise UsageError("name a model to see its layers, as in `mixer info mixer_b16`.")
    from mlpmixer.run.console import Console

    console = Console.choose(command.json)
    if command.machine:
        _show_machine(console)
        return 0
    if command.name is None:
        _list(console)
        return 0
    stored = is_stored(command.name)
    if stored and (size, command.num_classes) != (None, None):
        raise UsageError(
            f"{command.name} has a size and classes of its own: leave the options out."
        )
    if stored:
        from mlpmixer.weights.checkpoint import load

        model = load(command.name)
    else:
        model = _hollow_model(command.name, size, command.num_classes)

    if command.training.plan:
        show_plan(model, command.training, console)
        return 0
    from mlpmixer.models.model_summary import summarize_model

    _show(console, summarize_model(model), command.all)
    return 0


def _list(console: "Console") -> None:
    costs = listed_costs()
    rows = [
        (
            one.name,
            f"{one.parameters / 1e6:,.2f} M",
            f"{one.macs / 1e9:,.3f}",
            size_text(one.image_size),
        )
        for one in costs
    ]
    footer = "Any other model of timm: timm:NAME. One model: `mixer info NAME`."
    header = ("model", "parameters", "GMACs", "image")
    record = {"models": [asdict(one) for one in costs]}
    print_table(console, record, header, rows, [footer], left=1)


def _show(console: "Console", summary: "ModelSummary", every: bool) -> None:
    from mlpmixer.models.model_summary import fold

    layers = list(summary.layers) if every else fold(summary.layers)
    header = ("layer", "kind", "output", "parameters", "MMACs")
    footer = [
        f"{summary.name}: {summary.parameters:,} parameters, {summary.gmacs:,.3f} GMACs an image "
        f"of {size_text(summary.image_size)}, {counted(summary.num_classes, 'class', 'classes')}",
        f"{memory(summary.activation_bytes)} an image kept for the backward pass, "
        + (f"{summary.tokens} tokens of " if summary.tokens else "")
        + f"{summary.num_features:,} features",
    ]
    record = {**asdict(summary), "gmacs": summary.gmacs}
    print_table(console, record, header, [_row(layer) for layer in layers], footer, left=3)


def _show_machine(console: "Console") -> None:
    from mlpmixer.engines.this_machine import inspect_machine

    here = inspect_machine()
    rows = []
    for one in here.levels:
        limit = here.operations.get(one.precision) if one.used else None
        state = "used" if one.used else ""
        speed = "" if limit is None else f"{limit / 1e9:,.0f}"
        rows.append((one.precision, one.level, state, f"{one.error:.1e}", speed))
    footer = [f"{name}: {value}" for name, value in here.facts.items()]
    if here.bytes is not None:
        footer.append(f"memory: {here.bytes / 1e9:,.1f} GB/s read")
    footer.append(here.kernels or "native kernels: built, and checked against themselves")
    if here.tiles and not here.kernels:
        footer.append(f"AMX's tiles: {here.tiles}")
    footer += [why or f"{what}: native, built" for what, why in here.images.items()]
    footer += [
        f"{asked}: computed in {computed}, which is faster here"
        for asked, computed in here.computed.items()
        if computed != asked
    ]
    footer += [
        f"training in {precision}: " + (f"{level} kernels" if level else "PyTorch")
        for precision, level in here.training.items()
    ]
    for entry in here.chosen:
        taken = ", ".join(f"{name} {took * 1e3:,.1f} ms" for name, took in entry["seconds"].items())
        size = size_text(entry["model"].get("image_size", ()))
        footer.append(f"optimize, {entry['name']} {size} {entry['precision']}: {taken}")
    header = ("precision", "level", "", "error", "GOP/s at most")
    print_table(console, asdict(here), header, rows, footer, left=3)


def _row(layer: "Layer") -> tuple[str, ...]:
    """Return a layer's cells; those of a row for several hold the numbers of one of them."""
    name = (layer.name or "(model)") + (f" ×{layer.count}" if layer.count > 1 else "")
    shape = "×".join(str(length) for length in layer.output_shape[1:])
    macs = f"{layer.macs / 1e6:,.2f}" if layer.macs else ""
    parameters = f"{layer.parameters:,}" if layer.parameters else ""
    return name, layer.kind, shape, parameters, macs


def _hollow_model(
    name: str, size: tuple[int, ...] | None = None, num_classes: int | None = None
) -> "ImageModel":
    """Build a model that takes no memory."""
    import torch

    from mlpmixer.models.registry import create_model

    side = None if size is None else (size[0], size[-1])
    with torch.device("meta"):
        return create_model(name, image_size=side, num_classes=num_classes)
