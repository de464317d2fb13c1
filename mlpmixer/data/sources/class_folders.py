"""A folder with one folder of images a class, with or without train/, val/ and test/ above them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from mlpmixer.data.dataset import Dataset, Split, counted
from mlpmixer.data.sources.declaration import Source
from mlpmixer.errors import UsageError
from mlpmixer.formatting import printable

if TYPE_CHECKING:
    from mlpmixer.data.folder_scan import FolderScan

SOURCE = Source(
    example="photos/",
    help="a folder with one folder of images a class, or `train/`, `val/`, `test/` of such",
    in_folder=lambda folder: [folder],
    open=lambda spec, files: open_folder(files[0], spec),
    last=True,
)
_LAYOUT = "Put the images of each class into a folder of their own: {root}/cat/, {root}/dog/, …"


def open_folder(root: Path, spec: str) -> Dataset:
    """Return the images below `root`, where the name of a folder is the name of its class.

    `mlpmixer.data.folder_layout` says where the class folders are looked for. Classes are sorted
    by name; images are found at any depth below their class folder, in the order of their paths,
    each real file once. What is no readable image is counted, what systems leave behind is not.

    Raises UsageError where there are no images, no class folders or only one, a class folder of
    the training split is empty, or another split has a class that the training split lacks;
    MixerError where a folder cannot be read.
    """
    from mlpmixer.data.folder_layout import find_layout
    from mlpmixer.data.folder_scan import FolderScan
    from mlpmixer.data.splits import FileSplit

    passed_over: Counter[str] = Counter()
    layout = find_layout(root)
    listed = {
        split: _images_by_class(
            folder, FolderScan(passed_over, set(layout.splits.values()) - {folder}), layout.notes
        )
        for split, folder in layout.splits.items()
    }
    reference = "train" if "train" in listed else next(iter(listed))
    class_names = tuple(listed[reference])
    _check_classes(layout.splits[reference], listed[reference])
    splits: dict[str, Split] = {}
    for split, by_class in listed.items():
        folder = layout.splits[split]
        _check_classes_known(folder, by_class, class_names, layout.splits[reference])
        label_of = {class_name: label for label, class_name in enumerate(class_names)}
        relative = [path for paths in by_class.values() for path in paths]
        labels = [label_of[name] for name, paths in by_class.items() for _ in paths]
        if not relative:
            raise UsageError(
                f"{printable(str(folder))} has no images: add some or remove the folder."
            )
        splits[split] = FileSplit(folder, relative, labels)
    scan = FolderScan(passed_over)
    for folder in layout.above:
        scan.pass_over_files(folder, "images outside of class folders")
    for folder in layout.beside:
        (images,) = FolderScan(Counter()).images_by_folder([folder], root)
        if images:
            passed_over[f"images in {printable(folder.name)}/, which is no split"] += len(images)
    return Dataset(spec, class_names, splits, tuple(layout.notes), dict(passed_over))


def _images_by_class(root: Path, scan: FolderScan, notes: list[str]) -> dict[str, list[str]]:
    """Return the images of each class folder in `root`, as paths relative to `root`."""
    from mlpmixer.data.formats import readable_suffixes

    folders = scan.folders(root)
    shown = printable(str(root))
    if not folders:
        layout = _LAYOUT.format(root=shown)
        if scan.has_images(root):
            raise UsageError(f"{shown} has images but no class folders. {layout}")
        raise UsageError(f"{shown} has no images. {layout}")
    by_class: dict[str, list[str]] = {}
    folder_of: dict[str, Path] = {}
    for folder, images in zip(folders, scan.images_by_folder(folders, root), strict=True):
        name = printable(folder.name)
        if name in by_class:
            notes.append(
                f"the folders {folder_of[name].name!a} and {folder.name!a} in {shown} "
                f"have one name, {name}: they are taken as one class"
            )
        folder_of.setdefault(name, folder)
        by_class.setdefault(name, []).extend(images)
    if not any(by_class.values()):
        found = f" They hold {counted(scan.passed_over)}." if scan.passed_over else ""
        raise UsageError(
            f"{shown} and its folders have no images: no file ends in "
            f"{', '.join(sorted(readable_suffixes()))}.{found}"
        )
    return {name: by_class[name] for name in sorted(by_class)}


def _check_classes(root: Path, by_class: dict[str, list[str]]) -> None:
    """Raise UsageError where there are no two classes, or one has no images."""
    from mlpmixer.data.folder_layout import inner_folders
    from mlpmixer.data.folder_scan import FolderScan

    for name, paths in by_class.items():
        if not paths:
            kinds: Counter[str] = Counter()
            scan = FolderScan(kinds)
            folders = [folder for folder in scan.folders(root) if printable(folder.name) == name]
            scan.images_by_folder(folders, root)
            found = f" It holds {counted(kinds)}." if kinds else ""
            raise UsageError(
                f"class folder {printable(str(root))}/{name} has no images: add some or remove "
                f"the folder.{found}"
            )
    if len(by_class) < 2:
        (name,) = by_class
        folder = FolderScan(Counter()).folders(root)[0]
        while len(inner := inner_folders(folder)) == 1:
            folder /= inner[0]
        hint = ""
        if inner:
            shown = ", ".join(inner[:3]) + (", …" if len(inner) > 3 else "")
            hint = f" If the folders in it ({shown}) are classes or splits, give {folder}."
        raise UsageError(
            f"{printable(str(root))} has only one class folder, {name!r}: "
            f"a classifier needs at least two.{printable(hint)}"
        )


def _check_classes_known(
    root: Path, by_class: dict[str, list[str]], known: Iterable[str], reference: Path
) -> None:
    unknown = [name for name, paths in by_class.items() if paths and name not in set(known)]
    if unknown:
        near = get_close_matches(unknown[0], known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise UsageError(
            f"{printable(str(root))} has the class {unknown[0]!r}{more}, unknown in "
            f"{printable(str(reference))}.{hint} "
            "The class folders of all splits must have the same names."
        )
