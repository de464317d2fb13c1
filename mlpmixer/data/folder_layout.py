"""Where the class folders of each split lie below a folder."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from mlpmixer.data.folder_scan import FolderScan
from mlpmixer.data.split_names import ALIASES, SPLITS, split_of_name
from mlpmixer.errors import UsageError
from mlpmixer.formatting import printable

_WRAPPERS = frozenset(
    {"images", "image", "imgs", "img", "data", "dataset", "photos", "pictures", "classes"}
)
"""Names of folders that hold class folders and are none."""


@dataclass
class FolderLayout:
    """What each folder between the root and the class folders is for."""

    splits: dict[str, Path] = field(default_factory=dict)
    """The folder that holds the class folders of each split."""
    above: set[Path] = field(default_factory=set)
    """The root, and what lies between it and the class folders: no images are expected in them."""
    beside: list[Path] = field(default_factory=list)
    """Folders beside those of the splits."""
    notes: list[str] = field(default_factory=list)
    """What a reader should know where the layout is not the plain one."""


def find_layout(root: Path) -> FolderLayout:
    """Return where the class folders lie.

    They lie in `root` itself, which is then the training split, or in folders named train, val (or
    valid, validation) and test in it. Folders with a split's name among other words (seg_train)
    are splits where they hold class folders of the same names. A folder that holds nothing but
    one of its own name, of its split's or of a name such as images/, is gone through.

    Raises UsageError where two folders are the same split.
    """
    layout = FolderLayout()
    top = _through_wrappers(root, layout)
    children = FolderScan(Counter()).folders(top)
    found = _named_splits(children) or _alike_splits(children)
    if found:
        layout.beside = [child for child in children if child not in found.values()]
        for split in SPLITS:
            if split in found:
                layout.splits[split] = _through_wrappers(found[split], layout)
    else:
        layout.splits["train"] = top
        _note_alike(children, layout)
    return layout


def inner_folders(folder: Path) -> list[str]:
    """Return the names of the folders in `folder`, where it holds them and no images."""
    scan = FolderScan(Counter())
    return [] if scan.has_images(folder) else [child.name for child in scan.folders(folder)]


def _through_wrappers(folder: Path, layout: FolderLayout) -> Path:
    """Return `folder`, or the one in it that holds the class folders."""
    start = folder
    layout.above.add(folder)
    while len(inner := inner_folders(folder)) == 1 and inner_folders(folder / inner[0]):
        outer, name = Path(os.path.realpath(folder)).name.lower(), inner[0].lower()
        same_split = split_of_name(outer) is not None and split_of_name(outer) == split_of_name(
            name
        )
        if not (name == outer or same_split or name in _WRAPPERS):
            break
        folder = folder / inner[0]
        layout.above.add(folder)
    if folder != start:
        layout.notes.append(f"the class folders are taken from {printable(str(folder))}")
    return folder


def _named_splits(children: list[Path]) -> dict[str, Path]:
    """Return the folders that are named after a split and hold folders, and no images.

    A class may be called "train" (among bus and tram): then it holds images.
    """
    found: dict[str, Path] = {}
    for child in children:
        split = ALIASES.get(child.name.lower())
        if split is not None and inner_folders(child):
            _add(found, split, child)
    return found


def _alike_splits(children: list[Path]) -> dict[str, Path]:
    """Return the folders with a split among the words of their name and with common classes."""
    candidates = [
        (split, child, set(inner_folders(_through_wrappers(child, FolderLayout()))) - _WRAPPERS)
        for child in children
        if (split := split_of_name(child.name)) is not None
    ]
    common = set.intersection(*(classes for _, _, classes in candidates)) if candidates else set()
    if len({split for split, _, _ in candidates}) < 2 or not common:
        return {}
    found: dict[str, Path] = {}
    for split, child, _ in candidates:
        _add(found, split, child)
    return found


def _add(found: dict[str, Path], split: str, folder: Path) -> None:
    if split in found:
        raise UsageError(
            f"{printable(str(found[split]))} and {printable(str(folder))} are both {split} "
            "images: keep one of them."
        )
    found[split] = folder


def _note_alike(children: list[Path], layout: FolderLayout) -> None:
    """Say where the folders might be parts of one data set instead of its classes."""
    inner = [frozenset(inner_folders(child)) for child in children]
    if len(inner) < 2 or len(set(inner)) > 1 or len(inner[0]) < 2:
        return
    names = ", ".join(printable(name) for name in sorted(inner[0])[:3])
    layout.notes.append(
        f"all class folders hold folders of the same names ({names}): if these are the classes, "
        f"give {printable(str(children[0]))}"
    )
