"""`mixer data pack`: write any source as tar shards that load fast."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typing_extensions import Doc
from tyro.conf import Positional, arg

from mlpmixer.cli.options import parse
from mlpmixer.data.sources import forms, open_source
from mlpmixer.errors import UsageError
from mlpmixer.files import located
from mlpmixer.formatting import counted
from mlpmixer.values import Jobs, Positive, Range, Seed

if TYPE_CHECKING:
    from mlpmixer.data.packing import Packed

_MESSAGES = 20  # unreadable images listed, except as JSON


@dataclass(frozen=True, kw_only=True)
class PackCommand:
    """Write a data source as WebDataset tar shards: few large files in place of many small ones.

    Each split becomes `train-00000.tar` and so on, shuffled, with classes.txt and index.json
    beside them; `--data OUT` reads the result. A pack that was stopped goes on when it is started
    again. Exit status 1 if an image cannot be read.

    Examples:
      mixer data pack photos/ packed/
      mixer data pack imagenet/ packed/ --max-side 512 --workers 8
      mixer data packed/ --verify
    """

    source: Annotated[Positional[str], arg(metavar="SOURCE"), Doc(f"{forms()}.")]
    """What to pack."""
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """The folder for the shards: a new one, or that of a pack that was stopped."""
    max_side: Annotated[int, Range(ge=16, le=65_536)] | None = None
    """Reduce larger images so that their longer side has this many pixels, as upright JPEGs; by
    default all stay as they are, to the byte."""
    quality: Annotated[int, Range(ge=1, le=100)] = 90
    """Of the reduced JPEGs."""
    sixteen_bit: Literal["full", "range"] = "full"
    """How reduced images of 16 bits a value become JPEGs of 8: evenly, or from each picture's
    smallest value to its largest. Others keep theirs."""
    shard_megabytes: Positive = 256.0
    """About how large a shard is."""
    workers: Jobs = 2
    """Shards written at once, each by a thread."""
    seed: Seed = 0
    """Of the order of the images."""
    json: bool = False
    """Print the outcome as JSON; messages go to standard error."""


def run(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit status."""
    command = parse(PackCommand, "data pack", arguments)
    source, out = located(Path(command.source).expanduser()), command.out.expanduser()
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"{out} lies in the source {command.source}: name a folder outside it.")
    from mlpmixer.data.pack_plan import plan_pack
    from mlpmixer.data.pack_sample import PackOptions
    from mlpmixer.data.packing import pack
    from mlpmixer.data.value_range import darkness
    from mlpmixer.run.console import Console

    console = Console.choose(command.json)
    options = PackOptions(
        max_side=command.max_side,
        quality=command.quality,
        sixteen_bit=command.sixteen_bit,
        shard_megabytes=command.shard_megabytes,
        seed=command.seed,
    )
    plan = plan_pack(open_source(command.source), options)
    narrowed = options.max_side is not None and options.sixteen_bit == "full"
    if dark := darkness(plan.dataset.splits) if narrowed else "":
        console.warning(dark)
    with console.progress("packing") as progress:
        packed = pack(
            plan,
            out,
            command.workers,
            lambda done, total: progress.update(done / total, images=done),
        )
    unreadable = packed.unreadable
    record = {
        "out": out,
        "kept": packed.kept,
        "shards": [shard.as_json() for shard in packed.shards],
        "unreadable": [{"name": one.name, "reason": one.reason} for one in unreadable],
    }
    console.result(record, _summary(packed, out))
    if not command.json:
        for one in unreadable[:_MESSAGES]:
            console.warning(f"{one.name}: {one.reason}")
        if len(unreadable) > _MESSAGES:
            rest = len(unreadable) - _MESSAGES
            console.warning(f"{rest:,} more images are unreadable; --json lists all.")
    return 1 if unreadable else 0


def _summary(packed: "Packed", out: Path) -> str:
    """Return what was written, in a line or two."""
    images = sum(shard.images for shard in packed.shards)
    size = sum(shard.bytes for shard in packed.shards)
    written = f"{counted(images, 'image')} in {counted(len(packed.shards), 'shard')}"
    lines = [f"{out}: {written}, {size / 1e6:,.1f} MB"]
    if packed.kept:
        lines.append(f"{packed.kept:,} of the shards were there already and are whole")
    if packed.unreadable:
        lines.append(f"left out: {counted(len(packed.unreadable), 'unreadable image')}")
    return "\n".join(lines)
