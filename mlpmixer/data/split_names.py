"""The names under which files and folders announce their split."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from mlpmixer.data.remote import RemotePath
from mlpmixer.errors import UsageError

File = TypeVar("File", Path, RemotePath)
SPLITS = ("train", "validation", "test")
ALIASES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


def split_of_name(name: str) -> str | None:
    """Return the split that a file or folder name speaks of, or None.

    The first word of the name that is a split's counts: ``train-00000-of-00004``,
    ``imagenet1k-validation-07``, ``Test``.
    """
    words = re.findall(r"[a-z]+", name.lower())
    return next((ALIASES[word] for word in words if word in ALIASES), None)


def group_by_split(paths: Iterable[File]) -> dict[str, list[File]]:
    """Return the files of each split by their names, or by their folders' if those tell nothing.

    Where no name tells a split, all files are the training split. Raises UsageError where some
    names tell one and others do not.
    """
    groups: dict[str, list[File]] = {}
    unnamed: list[File] = []
    for path in sorted(paths):
        split = split_of_name(path.stem) or ALIASES.get(path.parent.name.lower())
        (groups.setdefault(split, []) if split else unnamed).append(path)
    if not groups:
        return {"train": unnamed}
    if unnamed:
        raise UsageError(
            f"cannot tell the split of {unnamed[0]}: other files beside it are named after "
            f"theirs ({', '.join(groups)}). Rename it, such as train-{unnamed[0].name}, or move it."
        )
    return {name: groups[name] for name in SPLITS if name in groups}
