"""A folder with one folder of images a class, with or without train/, val/ and test/ above them."""

import os
from difflib import get_close_matches
from pathlib import Path

from mlpmixer.data.dataset import Dataset, Split
from mlpmixer.data.sources.declaration import Source
from mlpmixer.data.split_names import ALIASES
from mlpmixer.errors import UsageError

SOURCE = Source(
    example="photos/",
    help="a folder with one folder of images a class, or `train/`, `val/`, `test/` of such",
    in_folder=lambda folder: [folder],
    open=lambda spec, files: open_folder(files[0], spec),
    last=True,
)
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".avif", ".jp2"}
)
_LAYOUT = "Put the images of each class into a folder of their own: {root}/cat/, {root}/dog/, …"


def open_folder(root: Path, spec: str) -> Dataset:
    """Return the images below `root`, where the name of a folder is the name of its class.

    The class folders lie in `root` itself, which is then the training split, or in folders named
    train, val (or valid, validation) and test in it. Classes are sorted by name; images are
    found at any depth below their class folder, in the order of their paths. Hidden files and
    files that are not images by their suffix are passed over.

    Raises UsageError where there are no images, no class folders or only one, a class folder of
    the training split is empty, or another split has a class that the training split lacks.
    """
    roots = _split_roots(root) or {"train": root}
    listed = {split: _images_by_class(folder) for split, folder in roots.items()}
    reference = "train" if "train" in listed else next(iter(listed))
    class_names = tuple(listed[reference])
    for class_name, paths in listed[reference].items():
        if not paths:
            raise UsageError(
                f"class folder {roots[reference] / class_name} has no images: "
                "add some or remove the folder."
            )
    if len(class_names) < 2:
        raise UsageError(
            f"{roots[reference]} has only one class folder, {class_names[0]!r}: "
            "a classifier needs at least two."
        )
    from mlpmixer.data.splits import FileSplit

    splits: dict[str, Split] = {}
    for split, by_class in listed.items():
        _check_classes_known(roots[split], by_class, class_names, roots[reference])
        label_of = {class_name: label for label, class_name in enumerate(class_names)}
        relative = [path for paths in by_class.values() for path in paths]
        labels = [label_of[name] for name, paths in by_class.items() for _ in paths]
        if not relative:
            raise UsageError(f"{roots[split]} has no images: add some or remove the folder.")
        splits[split] = FileSplit(roots[split], relative, labels)
    return Dataset(spec, class_names, splits)


def _split_roots(root: Path) -> dict[str, Path]:
    """Return the folder of each split; empty where `root` holds the class folders itself.

    A class may be called "train" (among bus and tram): a split's folder is told from it by
    holding folders, and no images.
    """
    found: dict[str, Path] = {}
    for folder in _subfolders(root):
        split = ALIASES.get(folder.name.lower())
        if split is None or not _subfolders(folder) or _has_images(folder):
            continue
        if split in found:
            raise UsageError(
                f"{found[split]} and {folder} are both {split} images: keep one of them."
            )
        found[split] = folder
    return {name: found[name] for name in ("train", "validation", "test") if name in found}


def _images_by_class(root: Path) -> dict[str, list[str]]:
    """Return the images of each class folder in `root`, as paths relative to `root`."""
    folders = _subfolders(root)
    if not folders:
        layout = _LAYOUT.format(root=root)
        if _has_images(root):
            raise UsageError(f"{root} has images but no class folders. {layout}")
        raise UsageError(f"{root} has no images. {layout}")
    by_class = {folder.name: _images_below(folder, root) for folder in folders}
    if not any(by_class.values()):
        raise UsageError(
            f"{root} and its folders have no images: no file ends in "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}."
        )
    return by_class


def _images_below(folder: Path, root: Path) -> list[str]:
    found: list[str] = []
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not _hidden(name))
        prefix = os.path.relpath(parent, root)
        found += (f"{prefix}{os.sep}{name}" for name in sorted(files) if _is_image(name))
    return found


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not _hidden(path.name))


def _has_images(folder: Path) -> bool:
    return any(_is_image(path.name) for path in folder.iterdir() if path.is_file())


def _is_image(name: str) -> bool:
    return not _hidden(name) and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"  # what macOS adds to zip archives


def _check_classes_known(
    root: Path, by_class: dict[str, list[str]], known: tuple[str, ...], reference: Path
) -> None:
    unknown = [name for name, paths in by_class.items() if paths and name not in known]
    if unknown:
        near = get_close_matches(unknown[0], known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise UsageError(
            f"{root} has the class {unknown[0]!r}{more}, unknown in {reference}.{hint} "
            "The class folders of all splits must have the same names."
        )
