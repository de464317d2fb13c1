"""Pictures into class folders, by what was predicted; nothing that is there is written over."""

import errno
import filecmp
import io
import itertools
import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath

from PIL import Image

from mlpmixer.data.formats import open_image
from mlpmixer.data.unlabelled import Pictures
from mlpmixer.errors import MixerError
from mlpmixer.formatting import printable

_LONGEST_NAME = 200  # bytes of a folder's name; file systems take 255
_NOT_IN_NAMES = re.compile(r'[/\\:*?"<>|]')  # on one system or another
_DEVICES = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|$)", re.IGNORECASE
)
"""Windows opens a device by such a name, whatever follows the dot."""
_NO_SECOND_NAMES = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""How file systems say that a file has but one name there."""
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
            if self.link:
                assert source is not None, "pictures inside of others have no path"
                real = source.resolve()
                self._settle(
                    folder,
                    PurePath(source.name),
                    lambda target: target.symlink_to(real),
                    lambda target: target.is_symlink() and target.readlink() == real,
                )
                return
            content = pictures.encoded(position)
            assert isinstance(content, bytes), "unlabelled pictures are encoded"
            name = (
                PurePath(source.name) if source else _name_inside(pictures.name(position), content)
            )
            with _written_aside(folder, content) as part:
                self._settle(folder, name, partial(_give_name, part), partial(_same, part))
        except OSError as error:
            raise MixerError(
                f"cannot put {pictures.name(position)} into {printable(str(folder))}: "
                f"{error.strerror or error}."
            ) from error

    def _settle(
        self,
        folder: Path,
        name: PurePath,
        make: Callable[[Path], None],
        same: Callable[[Path], bool],
    ) -> None:
        """Make what `make` makes, which fails where a file is, under the first free name."""
        for number in itertools.count(1):
            target = folder / (name.name if number == 1 else f"{name.stem}-{number}{name.suffix}")
            try:
                make(target)
            except FileExistsError:
                if same(target):
                    self.outcome.present += 1
                    return
            else:
                self.outcome.placed += 1
                return


def folder_names(class_names: Sequence[str]) -> list[str]:
    """Return the name of each class's folder: one that every system takes, and no two alike."""
    names: list[str] = []
    taken: set[str] = set()
    for index, label in enumerate(class_names):
        allowed = _NOT_IN_NAMES.sub("_", printable(label)).encode()[:_LONGEST_NAME]
        wanted = allowed.decode(errors="ignore").strip(". ") or "_"
        if _DEVICES.match(wanted):
            wanted = f"_{wanted}"
        numbered = (f"{wanted} ({number})" for number in itertools.count(index))
        name = next(one for one in itertools.chain([wanted], numbered) if one.lower() not in taken)
        taken.add(name.lower())
        names.append(name)
    return names


@contextmanager
def _written_aside(folder: Path, content: bytes) -> Iterator[Path]:
    part = folder / f".part-{secrets.token_hex(8)}"
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield part
    finally:
        part.unlink(missing_ok=True)


def _give_name(part: Path, target: Path) -> None:
    """Let a finished file be `target` too; raises FileExistsError where there is one."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_SECOND_NAMES:
            raise
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        part.rename(target)


def _same(part: Path, target: Path) -> bool:
    ours = target.is_file() and not target.is_symlink()
    return ours and filecmp.cmp(part, target, shallow=False)


def _name_inside(name: str, content: bytes) -> PurePath:
    """Return the file name of a picture that lies in a table, a shard or standard input."""
    inside = re.split(r"[/\\:]", name)[-1]
    if inside.lower().endswith(tuple(Image.registered_extensions())):
        return PurePath(inside)
    with open_image(io.BytesIO(content)) as image:
        kind = image.format or ""
    found = (end for end, one in Image.registered_extensions().items() if one == kind)
    return PurePath(f"{inside}{_SUFFIXES.get(kind) or next(found, '')}".replace(" ", "-"))
