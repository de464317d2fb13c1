"""`mixer data`: look at a data source: counts, sizes, a contact sheet."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typing_extensions import Doc
from tyro.conf import Positional, arg

from mlpmixer.cli.options import given, parse
from mlpmixer.cli.verbs import find_verbs, run_verb
from mlpmixer.data.sources import forms, open_source, sources
from mlpmixer.errors import UsageError
from mlpmixer.files import check_writable, located, replacing
from mlpmixer.formatting import counted, size_text
from mlpmixer.values import Seed, flag

if TYPE_CHECKING:
    from mlpmixer.data.dataset_summary import DatasetSummary, SplitSummary
    from mlpmixer.run.console import Console

OF_THE_SHEET = {"split", "seed"}
_SHEET_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_ROWS = 40  # classes listed on a terminal
_BAR, _NAME = 24, 12  # characters on a terminal, the latter at least
_MESSAGES = 20  # unreadable images listed, except as JSON


@dataclass(frozen=True, kw_only=True)
class DataCommand:
    """Look at a data source: images per class, sizes, unreadable files, a contact sheet.

    Without a source, the kinds of sources are listed. Exit status 1 if an image cannot be read.
    `mixer data pack` writes a source as tar shards; a folder of that name is `./pack`.

    Examples:
      mixer data
      mixer data digits --out digits.png
      mixer data photos/ --verify --duplicates
      mixer data 'shards/train-{000..127}.tar' --json
      mixer data pack photos/ shards/
    """

    source: Annotated[Positional[str | None], arg(metavar="SOURCE"), Doc(f"{forms()}.")] = None
    """What to look at."""
    out: Path | None = None
    """Draw a contact sheet, some images of each class, into this .png, .jpg or .webp file."""
    split: str | None = None
    """The split on the contact sheet; train if the source has it."""
    seed: Seed = 0
    """Which images come onto the contact sheet."""
    verify: bool = False
    """Decode every image, not only its header: slower, and finds all damage. Of what
    `mixer data pack` has written, the checksum of each shard, too."""
    duplicates: bool = False
    """Look for images that are almost the same too, such as resized ones: decodes every image.
    Images that are the same to the last byte are always looked for."""
    sixteen_bit: Literal["full", "range"] = "full"
    """How the contact sheet shows 16 bits a value: evenly, or from each picture's smallest value to
    its largest. A training takes the same option."""
    json: bool = False
    """Print the outcome as JSON; messages go to standard error."""


def run(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit status."""
    if arguments and arguments[0] in find_verbs(within="data"):
        return run_verb(arguments[0], arguments[1:], within="data")
    command = parse(DataCommand, "data", arguments)
    if command.out is not None and command.out.suffix.lower() not in _SHEET_SUFFIXES:
        raise UsageError(
            f"cannot draw a contact sheet into {command.out}: name a file that ends in "
            f"{', '.join(_SHEET_SUFFIXES)}."
        )
    named = given(arguments)
    if command.source is None and (alone := sorted(named - {"json", "no_json"})):
        raise UsageError(f"{flag(alone[0])} needs a source: name one.")
    if command.out is not None:
        check_writable(command.out)
    elif alone := sorted(named & OF_THE_SHEET):
        raise UsageError(f"{flag(alone[0])} belongs to the contact sheet: give --out FILE too.")
    from mlpmixer.data.contact_sheet import contact_sheet
    from mlpmixer.data.dataset_summary import summarize
    from mlpmixer.data.duplicates import find_duplicates
    from mlpmixer.data.value_range import darkness
    from mlpmixer.run.console import Console

    console = Console.choose(command.json)
    if command.source is None:
        return _list_sources(console)
    damaged = _damaged_shards(command.source, console) if command.verify else None
    dataset = open_source(command.source)
    if command.split is not None and command.split not in dataset.splits:
        raise UsageError(
            f"{command.source} has no split {command.split!r}: it has {', '.join(dataset.splits)}."
        )
    with console.progress("verifying" if command.verify else "reading headers") as progress:
        summary = summarize(
            dataset,
            verify=command.verify,
            progress=lambda done, total: progress.update(done / total, images=done),
        )
    with console.progress("looking for duplicates") as progress:
        duplicates = find_duplicates(dataset.splits, progress=progress.update)
    near = None
    if command.duplicates:
        from mlpmixer.data.near_duplicates import find_near_duplicates

        with console.progress("looking for near duplicates") as progress:
            near = find_near_duplicates(dataset.splits, progress=progress.update)
    if console.mode == "live":
        _show(summary)
    record = {
        **summary.as_json(),
        "duplicates": duplicates.as_json(),
        "near_duplicates": None if near is None else near.as_json(),
        "contact_sheet": command.out,
        "damaged_shards": damaged,
    }
    dark = darkness(dataset.splits) if command.sixteen_bit == "full" else ""
    notes = [*dataset.remarks, *filter(None, [dark]), *duplicates.sentences()]
    if near is not None:
        notes += near.sentences("near copy", "near copies") or ["no images are almost the same"]
    lines = _class_lines(summary) if console.mode == "plain" else []
    console.result(
        record,
        "\n".join([*_split_lines(summary), *(f"note: {note}" for note in notes), *lines]),
    )
    if not command.json:
        for line in _unreadable_lines(summary):
            console.warning(line)
        if command.out is None and console.mode == "live":
            console.message("--out sheet.png draws a contact sheet.")
        if console.mode == "live" and not summary.verified:
            console.message("Only headers were read; --verify decodes every image.")
    if command.out is not None:
        sheet = contact_sheet(
            dataset, split=command.split, seed=command.seed, sixteen_bit=command.sixteen_bit
        )
        with replacing(command.out) as part:
            sheet.save(part)
        console.message(f"contact sheet: {command.out}")
    return 1 if damaged or any(split.unreadable for split in summary.splits.values()) else 0


def _damaged_shards(source: str, console: "Console") -> dict[str, str] | None:
    """Return the shards of a pack that have changed, and how; None where it is no pack."""
    from mlpmixer.data.pack_index import damaged_shards, read_index

    folder = located(Path(source).expanduser())
    if not folder.is_dir() or read_index(folder) is None:
        return None
    with console.progress("checking shards") as progress:
        found = damaged_shards(
            folder, lambda done, total: progress.update(done / total, shards=done)
        )
    for name, reason in (found or {}).items():
        console.warning(f"{folder / name} is damaged: {reason}.")
    return found


def _list_sources(console: "Console") -> int:
    """Print how each kind of source is written, and what it is."""
    found = sources()
    console.result(
        {"sources": [{"forms": source.forms, "help": source.help} for source in found]},
        "\n".join(f"{', '.join(source.forms)}\n    {source.help}" for source in found),
    )
    return 0


def _split_lines(summary: "DatasetSummary") -> list[str]:
    """Return a line on the source and one on each split."""
    total = sum(split.images for split in summary.splits.values())
    lines = [
        f"{summary.spec}: {counted(total, 'image')}, "
        f"{counted(len(summary.class_names), 'class', 'classes')}"
    ]
    return lines + [f"{name}: {_split_text(split)}" for name, split in summary.splits.items()]


def _split_text(split: "SplitSummary") -> str:
    least, most = min(split.per_class), max(split.per_class)
    spread = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    parts = [counted(split.images, "image"), f"{spread} a class"]
    if (several := split.classes_an_image) is not None:
        parts.append(f"{several.least:,} to {several.most:,} classes an image ({several.mean:.1f})")
    if split.sizes is not None:
        if split.sizes.distinct == 1:
            parts.append(f"all {size_text(split.sizes.median)}")
        else:
            parts.append(
                f"{size_text(split.sizes.smallest)} to {size_text(split.sizes.largest)}, "
                f"median {size_text(split.sizes.median)}"
            )
            width, height, count = split.sizes.common[0]
            if count > 1:
                parts.append(f"most often {size_text((width, height))} ({count:,})")
    if split.unreadable:
        parts.append(f"{len(split.unreadable):,} unreadable")
    return ", ".join(parts)


def _class_lines(summary: "DatasetSummary") -> list[str]:
    """Return a table of all classes, for a pipe: the counts first, aligned, then the name."""
    splits = summary.splits
    lines = ["  ".join([*(f"{name:>10}" for name in splits), "class"])]
    for label, name in enumerate(summary.class_names):
        counts = (f"{split.per_class[label]:>10}" for split in splits.values())
        lines.append("  ".join([*counts, name]))
    return lines


def _unreadable_lines(summary: "DatasetSummary") -> list[str]:
    found = [image for split in summary.splits.values() for image in split.unreadable]
    lines = [f"{image.name}: {image.reason}" for image in found[:_MESSAGES]]
    if len(found) > _MESSAGES:
        lines.append(f"{len(found) - _MESSAGES:,} more images are unreadable; --json lists all.")
    return lines


def _show(summary: "DatasetSummary") -> None:
    """Print the classes as a table with bars; of very many, the largest and the smallest."""
    from rich.bar import Bar
    from rich.console import Console as Terminal
    from rich.table import Table
    from rich.text import Text

    first, *others = summary.splits.items()
    counts = first[1].per_class
    shown = list(range(len(counts)))
    left_out = 0
    if len(shown) > _ROWS:
        by_size = sorted(shown, key=lambda label: -counts[label])
        left_out = len(shown) - _ROWS
        shown = by_size[: _ROWS // 2] + by_size[-_ROWS // 2 :]
    widths = {
        name: max(len(name), *(len(f"{count:,}") for count in split.per_class))
        for name, split in summary.splits.items()
    }
    terminal = Terminal()
    blocks = terminal.encoding.lower().startswith("utf")
    rest = terminal.width - _BAR - 2 * (len(widths) + 2) - sum(widths.values())
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("class", overflow="ellipsis", no_wrap=True, max_width=max(rest, _NAME))
    table.add_column("", width=_BAR)
    for name, width in widths.items():
        table.add_column(Text(name), justify="right", min_width=width)
    for row, label in enumerate(shown):
        if left_out and row == _ROWS // 2:
            table.add_row(Text(f"… {left_out:,} more, of sizes between", "dim"))
        table.add_row(
            Text(summary.class_names[label]),
            Bar(max(counts), 0, counts[label], color="blue")
            if blocks
            else Text("#" * round(_BAR * counts[label] / max(counts)), "blue"),
            f"{counts[label]:,}",
            *(f"{split.per_class[label]:,}" for _, split in others),
        )
    terminal.print(table)
