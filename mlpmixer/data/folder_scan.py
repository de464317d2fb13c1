"""Walking through folders of images: each real file and folder once, with a count of the rest."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath

from mlpmixer.data.formats import is_image, kind_of
from mlpmixer.errors import MixerError
from mlpmixer.formatting import printable

_LEFT_BEHIND = frozenset(
    {"__macosx", "@eadir", "@tmp", "@recycle", "#recycle", "#snapshot", "@recently-snapshot"}
    | {"$recycle.bin", "recycler", "recycled", "system volume information", "found.000"}
    | {"lost+found", "network trash folder", "temporary items", "desktop folder", "__pycache__"}
    | {"cvs", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}
    | {"_gsdata_", "node_modules", "venv"}
)
"""What macOS, Windows, network drives and tools leave in folders, in lower case; hidden names
(.git, .ipynb_checkpoints, .DS_Store, .AppleDouble, ._1.jpg) are passed over as well."""
LINKED_FOLDERS = "links to folders that are read already"
LINKED_FILES = "links to files that are read already"
BROKEN_LINKS = "links to nothing"
NO_FILES = "pipes and devices"


class FolderScan:
    """What is found on a walk through the folders of one split.

    Links to files and folders are followed. What a link and a path without links lead to is read
    by the path without, so that a link to a folder above does not lead round in a circle.
    """

    def __init__(self, passed_over: Counter[str], others: Iterable[Path] = ()) -> None:
        """Count in `passed_over` what is not taken: its kind in the plural, and how many.

        `others` are the folders of other splits, into which no link leads.
        """
        self.passed_over = passed_over
        self._others = {os.path.realpath(folder) for folder in others}
        self._apart: set[str] = set()  # real paths of the folders that are read by themselves
        self._read: set[str] = set()  # real paths of all folders read so far

    def folders(self, parent: Path) -> list[Path]:
        """Return the folders in `parent` by name, without those that systems leave behind.

        Links to what is in `parent` or above it are passed over.
        """
        real = os.path.realpath(parent)
        found: dict[str, Path] = {}
        entries = [entry for entry in _entries(parent) if os.path.isdir(entry.path)]
        for entry in sorted(entries, key=lambda entry: (entry.is_symlink(), entry.name)):
            target = os.path.realpath(entry.path)
            if entry.is_symlink() and (_within(real, {target}) or _within(target, set(found))):
                self.passed_over[LINKED_FOLDERS] += 1
            else:
                found[target] = parent / entry.name
        return sorted(found.values())

    def images_by_folder(self, folders: Sequence[Path], root: Path) -> list[list[str]]:
        """Return the images below each of `folders`, as paths relative to `root`, in walking order.

        Raises MixerError where a folder cannot be read.
        """
        self._apart |= {os.path.realpath(folder) for folder in folders}
        return [self._images_below(folder, root) for folder in folders]

    def _images_below(self, folder: Path, root: Path) -> list[str]:
        found: dict[tuple[str, ...], list[str]] = {}
        links: list[str] = []
        linked_files: set[str] = set()
        waiting = [(str(folder), os.path.realpath(folder))]
        while waiting or links:
            if waiting:
                path, real = waiting.pop()
                self._read.add(real)
                names = found.setdefault(_parts(path, root), [])
                for entry in _entries(path):
                    if entry.is_symlink():
                        links.append(entry.path)
                    elif entry.is_dir():
                        if (below := os.path.join(real, entry.name)) not in self._read:
                            waiting.append((entry.path, below))
                    elif is_image(entry.name) and entry.is_file():
                        names.append(entry.name)
                    else:
                        self.passed_over[_kind(entry.path)] += 1
                continue
            link = links.pop(0)  # after all that is reached without links
            target = os.path.realpath(link)
            if os.path.isdir(target):
                above = _within(os.path.realpath(root), {target})
                if above or target in self._read or _within(target, self._apart | self._others):
                    self.passed_over[LINKED_FOLDERS] += 1
                else:
                    waiting.append((link, target))
            elif not (os.path.isfile(target) and is_image(link)):
                self.passed_over[_kind(link)] += 1
            elif target in linked_files or self._reads(target):
                self.passed_over[LINKED_FILES] += 1
            else:
                linked_files.add(target)
                found[_parts(os.path.dirname(link), root)].append(os.path.basename(link))
        return [
            f"{start}{name}"
            for parts in sorted(found)
            for start in (os.path.join(*parts, ""),)
            for name in sorted(found[parts])
        ]

    def _reads(self, file: str) -> bool:
        """Return whether the walk meets a file, given by its real path, without links."""
        return (
            is_image(file)
            and not _left_behind(os.path.basename(file))
            and (os.path.dirname(file) in self._read or _within(file, self._apart))
        )

    def has_images(self, folder: Path) -> bool:
        """Return whether images lie in `folder` itself, not only in folders below."""
        entries = _entries(folder)
        return any(is_image(entry.name) and os.path.isfile(entry.path) for entry in entries)

    def pass_over_files(self, folder: Path, images: str) -> None:
        """Count the files in `folder` itself as passed over; `images` says what its images are."""
        for entry in _entries(folder):
            if not os.path.isdir(entry.path):
                taken = is_image(entry.name) and os.path.isfile(entry.path)
                self.passed_over[images if taken else _kind(entry.path)] += 1


def _entries(folder: str | Path) -> Iterator[os.DirEntry[str]]:
    """Yield what is in a folder, without what systems and tools leave behind.

    Raises MixerError where it cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not _left_behind(entry.name))
    except OSError as error:
        reason = error.strerror or str(error)
        raise MixerError(f"cannot read the folder {printable(str(folder))}: {reason}.") from error


def _left_behind(name: str) -> bool:
    return name.startswith(".") or name.lower() in _LEFT_BEHIND


def _within(path: str, folders: set[str]) -> bool:
    """Return whether a real path is one of `folders` or below it."""
    return path in folders or any(str(parent) in folders for parent in PurePath(path).parents)


def _parts(path: str, root: Path) -> tuple[str, ...]:
    return PurePath(os.path.relpath(path, root)).parts


def _kind(path: str) -> str:
    """Return what a path is that is not taken, in the plural."""
    if os.path.isfile(path):
        return kind_of(os.path.basename(path))
    return NO_FILES if os.path.exists(path) else BROKEN_LINKS
