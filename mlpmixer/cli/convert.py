"""`mixer convert`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from mlpmixer.cli.options import parse
from mlpmixer.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class ConvertCommand:
    """Rewrite a checkpoint in another layout; the numbers stay the same to the bit.

    What the input is, is read off it: the authors' .npz, a state dict of timm or lucidrains, a
    file of ours, a run directory, or hf-hub:user/name.

    Examples:
      mixer convert Mixer-B_16.npz mixer_b16.safetensors
      mixer convert runs/photos photos.npz
      mixer convert runs/photos photos.safetensors --layout timm
    """

    source: Positional[str]
    """The checkpoint to read."""
    out: Positional[Path]
    """The file to write: .npz, .safetensors or .pth."""
    layout: Literal["mlpmixer", "google", "google_older", "timm", "lucidrains"] | None = None
    """By default google for .npz, timm for .pth, and our own for .safetensors."""
    json: bool = False
    """Print the outcome as JSON."""


def run(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit status."""
    command = parse(ConvertCommand, "convert", arguments)
    usual = {".npz": "google", ".safetensors": "mlpmixer", ".pth": "timm", ".pt": "timm"}
    layout = command.layout or usual.get(command.out.suffix)
    if layout is None:
        raise UsageError(f"{command.out} is of an unknown kind: write .npz, .safetensors or .pth.")
    if layout == "mlpmixer" and command.out.suffix != ".safetensors":
        raise UsageError(f"our own layout is written as .safetensors, not {command.out.suffix!r}.")
    if command.out.exists():
        raise UsageError(f"{command.out} exists already: choose another name or remove it.")
    from mlpmixer.models.mixer import Mixer
    from mlpmixer.report.console import Console
    from mlpmixer.weights.checkpoint import LAYOUTS, export, load, save

    console = Console.choose(command.json)
    model = load(command.source)
    if layout == "mlpmixer":
        save(model, command.out, **model.facts)
    else:
        export(model, command.out, layout)
        assert isinstance(model, Mixer)
        if difference := LAYOUTS[layout].differences(model.config):
            console.warning(f"the layout cannot carry what these weights need: {difference}")
    parameters = sum(parameter.numel() for parameter in model.parameters())
    record = {"source": command.source, "out": str(command.out), "layout": layout}
    text = f"{command.out}: {model.name}, {parameters:,} parameters, layout {layout}"
    console.result({**record, "parameters": parameters}, text)
    return 0
