"""Pictures into class folders, by what was predicted; nothing that is there is written over."""

import filecmp
import io
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
from PIL import Image

from mlpmixer.data.formats import register_readers
from mlpmixer.data.unlabelled import Pictures
from mlpmixer.errors import MixerError
from mlpmixer.formatting import printable

_LONGEST_NAME = 200  # bytes of a folder's name; file systems take 255
_NOT_IN_NAMES = re.compile(r'[/\\:*?"<>|]')  # on one system or another
_SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif"}


@dataclass
class Sorted:
    """What a sorting has done."""

    placed: int = 0
    present: int = 0
    """Pictures that were there already."""


class ClassFolders:
    """Folders below `root`, one a class, made as they are needed.

    Args:
        root: where they lie.
        class_names: the name of each class.
        link: make symbolic links to the files in place of copies.
    """

    def __init__(self, root: Path, class_names: Sequence[str], *, link: bool = False) -> None:
        self.root = root
        self.link = link
        self.outcome = Sorted()
        self._names = folder_names(class_names)

    def place(self, pictures: Pictures, position: int, label: int) -> None:
        """Put a picture into the folder of a class, whole or not at all.

        Where another file has its name, it gets a number; where the same picture is there
        already, it stays.

        Raises MixerError where it cannot be read or written.
        """
        folder = self.root / self._names[label]
        source = pictures.path(position)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if source is not None:
                name = PurePath(source.name)
                with _aside(folder) as part:
                    if self.link:
                        part.symlink_to(source.resolve())
                    else:
                        _copy(source.read_bytes(), part)
                    self._settle(part, folder, name)
            else:
                content = pictures.encoded(position)
                assert not isinstance(content, np.ndarray), "unlabelled pictures are encoded"
                with _aside(folder) as part:
                    _copy(content, part)
                    self._settle(part, folder, _name_inside(pictures.name(position), content))
        except OSError as error:
            raise MixerError(
                f"cannot put {pictures.name(position)} into {printable(str(folder))}: "
                f"{error.strerror or error}."
            ) from error

    def _settle(self, part: Path, folder: Path, name: PurePath) -> None:
        """Give a finished file the first free one of its names."""
        number = 1
        while True:
            target = folder / (name.name if number == 1 else f"{name.stem}-{number}{name.suffix}")
            if os.path.lexists(target):
                if _same(part, target):
                    self.outcome.present += 1
                    return
                number += 1
                continue
            try:
                os.link(part, target, follow_symlinks=False)  # fails where there is one
            except FileExistsError:
                continue
            self.outcome.placed += 1
            return


def folder_names(class_names: Sequence[str]) -> list[str]:
    """Return the name of each class's folder: one that every system takes, and no two alike."""
    names: list[str] = []
    taken: set[str] = set()
    for index, label in enumerate(class_names):
        allowed = _NOT_IN_NAMES.sub("_", printable(label)).encode()[:_LONGEST_NAME]
        name = allowed.decode(errors="ignore").strip(". ") or "_"
        if name.lower() in taken:
            name = f"{name} ({index})"
        taken.add(name.lower())
        names.append(name)
    return names


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    part = folder / f".part-{secrets.token_hex(8)}"
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def _copy(content: bytes, part: Path) -> None:
    with part.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _same(part: Path, target: Path) -> bool:
    if part.is_symlink() or target.is_symlink():
        both = part.is_symlink() and target.is_symlink()
        return both and part.readlink() == target.readlink()
    return target.is_file() and filecmp.cmp(part, target, shallow=False)


def _name_inside(name: str, content: bytes) -> PurePath:
    """Return the file name of a picture that lies in a table, a shard or standard input."""
    inside = re.split(r"[/\\:]", name)[-1]
    if inside.lower().endswith(tuple(Image.registered_extensions())):
        return PurePath(inside)
    register_readers()
    with Image.open(io.BytesIO(content)) as image:
        kind = image.format or ""
    found = (end for end, one in Image.registered_extensions().items() if one == kind)
    return PurePath(f"{inside}{_SUFFIXES.get(kind) or next(found, '')}".replace(" ", "-"))
