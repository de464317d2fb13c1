"""The names of the classes, where they stand beside the data."""

import json
from collections import Counter
from pathlib import Path

from mlpmixer.data.remote import RemotePath
from mlpmixer.errors import UsageError
from mlpmixer.formatting import printable

CLASSES = "classes.txt"
INDEX = "index.json"
"""Written by `mixer data pack`, with the classes among its settings."""


def listed_classes(folder: Path | RemotePath) -> tuple[str, ...] | None:
    """Return the names of the classes, in the order of their numbers; None where none are listed.

    They stand in classes.txt in `folder`, one a line, or else in the index of packed shards.

    Raises UsageError where a name is there twice or a line before the last name is empty,
    MixerError where a remote file stays away.
    """
    listing = folder / CLASSES
    if listing.exists():
        text = listing.read_bytes().decode("utf-8-sig", "surrogateescape")
        names = [printable(line.strip()) for line in text.rstrip().split("\n")]
        if "" in names[:-1]:
            raise UsageError(
                f"line {names.index('') + 1} of {listing} is empty, and the numbers of the classes "
                "go by the lines: remove it or name a class there."
            )
        names = list(filter(None, names))
    else:
        listing = folder / INDEX
        names = _in_index(listing) if listing.exists() else []
    if twice := next((name for name, count in Counter(names).items() if count > 1), None):
        raise UsageError(f"{listing} names the class {twice!r} twice: names must differ.")
    return tuple(names) or None


def has_pack_index(folder: Path | RemotePath) -> bool:
    """Tell whether an index of packed shards, with their classes, lies in `folder`."""
    listing = folder / INDEX
    return listing.exists() and bool(_in_index(listing))


def _in_index(index: Path | RemotePath) -> list[str]:
    """Return the classes in the index of packed shards; none of another file of that name."""
    try:
        stored = json.loads(index.read_bytes())
        return [printable(str(name)) for name in stored["settings"]["classes"]]
    except (ValueError, KeyError, TypeError):
        return []
