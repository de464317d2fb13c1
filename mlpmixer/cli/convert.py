"""`mixer convert`: rewrite a checkpoint in another layout."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from mlpmixer.cli.options import parse
from mlpmixer.errors import UsageError, unknown_name
from mlpmixer.files import check_writable
from mlpmixer.weights.layouts import layout_names

OURS = "mlpmixer"


@dataclass(frozen=True, kw_only=True)
class ConvertCommand:
    """Rewrite a checkpoint in another layout; the numbers stay the same to the bit.

    What the input is, is read off it: the authors' .npz, a state dict of timm or lucidrains, a
    file of ours, a run directory, or hf-hub:user/name.

    To a folder or the Hugging Face hub: weights, configuration, and of a run a model card that
    tells what was measured.

    Examples:
      mixer convert Mixer-B_16.npz mixer_b16.safetensors
      mixer convert Mixer-B_16.npz mixer_b16.safetensors --class-names imagenet.txt
      mixer convert last.pth.tar#plain plain.safetensors
      mixer convert runs/photos photos.npz
      mixer convert runs/photos photos.safetensors --layout timm
      mixer convert runs/digits digits-model/
      mixer convert runs/digits hf-hub:user/digits --private
    """

    source: Annotated[Positional[str], arg(metavar="SOURCE")]
    """The checkpoint to read. Where one holds averaged and plain weights, FILE#averaged (the
    default) or FILE#plain says which."""
    out: Annotated[Positional[str], arg(metavar="OUT")]
    """The file to write: .npz, .safetensors or .pth; a new folder; or hf-hub:user/name."""
    layout: Annotated[str | None, arg(metavar="|".join([OURS, *layout_names()]))] = None
    """By default google for .npz, timm for .pth, and our own for .safetensors."""
    class_names: Path | None = None
    """A file with the names of the classes, in the order of the logits, to be stored with the
    weights: a name a line, or a JSON list."""
    private: bool = False
    """Make a new repository of the hub private."""
    json: bool = False
    """Print the outcome as JSON."""


def run(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit status."""
    command = parse(ConvertCommand, "convert", arguments)
    layouts = [OURS, *layout_names()]
    if command.layout is not None and command.layout not in layouts:
        raise unknown_name("layout", command.layout, layouts)
    to_hub, out = command.out.startswith("hf-hub:"), Path(command.out)
    if command.private and not to_hub:
        raise UsageError("--private is for hf-hub:user/name: leave it out.")
    if not to_hub and (out.is_file() or (out.is_dir() and any(out.iterdir()))):
        raise UsageError(f"{out} exists already: choose another name or remove it.")
    if to_hub or out.is_dir() or not out.suffix or command.out.endswith("/"):
        if command.layout not in (None, OURS):
            raise UsageError(f"folders and the hub take our own layout, not {command.layout}.")
        return _to_folder(command, out, to_hub)
    return _to_file(command, out)


def _to_folder(command: ConvertCommand, out: Path, to_hub: bool) -> int:
    from mlpmixer.deploy.publish import push_to_hub, save_pretrained
    from mlpmixer.run.console import Console

    console = Console.choose(command.json)
    record = {"source": command.source, "out": command.out}
    if to_hub:
        name = command.out.removeprefix("hf-hub:")
        names, private = command.class_names, command.private or None
        url = push_to_hub(command.source, name, class_names=names, private=private)
        console.result({**record, "commit": url}, f"pushed: {url}")
    else:
        save_pretrained(command.source, out, class_names=command.class_names)
        console.result(record, f"{out}: weights, configuration and README.md")
    return 0


def _to_file(command: ConvertCommand, out: Path) -> int:
    usual = {".npz": "google", ".safetensors": OURS, ".pth": "timm", ".pt": "timm"}
    layout = command.layout or usual.get(out.suffix)
    if layout is None:
        raise UsageError(f"{out} is of an unknown kind: write .npz, .safetensors or .pth.")
    if layout == OURS and out.suffix != ".safetensors":
        raise UsageError(f"our own layout is written as .safetensors, not {out.suffix!r}.")
    if layout != OURS and command.class_names is not None:
        raise UsageError(f"the layout {layout} has no place for class names: leave them out.")
    check_writable(out)
    from mlpmixer.models.model_summary import count_parameters
    from mlpmixer.run.console import Console
    from mlpmixer.weights.checkpoint import export, load, save

    console = Console.choose(command.json)
    model = load(command.source, class_names=command.class_names)
    if layout == OURS:
        save(model, out)
    else:
        export(model, out, layout)
    parameters = count_parameters(model)
    record = {"source": command.source, "out": command.out, "layout": layout}
    text = f"{out}: {model.name}, {parameters:,} parameters, layout {layout}"
    console.result({**record, "parameters": parameters}, text)
    return 0
