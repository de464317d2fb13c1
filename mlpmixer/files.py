"""Files that appear whole or not at all: written aside, forced to disk, then renamed."""

import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mlpmixer.errors import MixerError, UsageError
from mlpmixer.formatting import printable
from mlpmixer.json_text import json_text


def check_writable(path: Path) -> None:
    """Check, before the work whose result goes there, that a file can be written.

    Raises:
        UsageError: there is something else than a file, or its folder is none or not to be written
            to.
    """
    _check_place(path)
    _check_permission(path, Path(os.path.realpath(path)).parents)


def check_folder_writable(path: Path) -> None:
    """Check, before the work whose results go there, that files can be written into a folder.

    Raises:
        UsageError: it, or one above it, is a file or not to be written to.
    """
    folders = [path, *path.parents]
    _check_folders(path, folders)
    _check_permission(path, folders)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path, with the suffix of `path`, that takes its place in the end.

    For libraries that write by path. A reader of `path` sees the old file or the complete new
    one, never a part, also after a power cut. If the block raises, `path` stays as it was and the
    temporary file is removed. Missing parent folders are made. The file has the permissions that
    the umask gives to a new one, whatever the library asks for. Of a link the file that it leads to
    is replaced.

    Raises:
        UsageError: there is a folder, a device or a pipe; or a file in place of its folder.
        MixerError: if the file cannot be written, for example on a full disk.
    """
    suffix = Path(path).suffix
    _check_place(Path(path))
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Made by us first: libraries that write files of their own and rename them, as
            # safetensors does, leave them readable for their owner alone.
            with temporary.open("xb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(mode)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        ours = {None, *map(str, (temporary, *path.parents))}
        if error.filename not in ours:
            raise  # the block failed at some other file
        raise MixerError(f"cannot write {path}: {error.strerror or error}.") from error


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace the file at `path` by one that holds `content`; see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Replace the file at `path` by one that holds `text` in UTF-8; see `replacing`.

    Bytes of a path that are not UTF-8 are spelt out.
    """
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_json(path: str | os.PathLike[str], value: object) -> None:
    """Replace the file at `path` by `value` as indented JSON; NaN and infinities become null."""
    write_text(path, json_text(value, indent=2) + "\n")


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`, on the same disk, that is gone in the end.

    For what is made of several files, or checked before it appears. Missing parents are made.

    Raises:
        UsageError: a file is in place of its folder.
        MixerError: it cannot be made.
    """
    _check_folders(path, path.parents)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.stem}.", dir=path.parent))
    except OSError as error:
        raise MixerError(f"cannot write {path}: {error.strerror or error}.") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_place(path: Path) -> None:
    """Raise UsageError where a file cannot take the place of what is at the path."""
    if os.path.isdir(path):
        raise UsageError(f"cannot write {path}: it is a folder. Name a file in it.")
    if os.path.exists(path) and not os.path.isfile(path):
        raise UsageError(f"cannot write {path}: it is a device or a pipe. Name a file.")
    _check_folders(path, path.parents)


def _check_folders(path: Path, folders: Iterable[Path]) -> None:
    """Raise UsageError where a file is in place of a folder that a path needs."""
    for folder in folders:
        if os.path.exists(folder) and not os.path.isdir(folder):
            raise UsageError(f"cannot write {path}: {folder} is a file, not a folder.")


def _check_permission(path: Path, folders: Iterable[Path]) -> None:
    """Raise UsageError where nothing may be written into the first of the folders that exists."""
    folder = next((one for one in folders if os.path.exists(one)), None)
    if folder is None:
        raise UsageError(f"cannot write {path}: the working folder is gone.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write {path}: there is no permission to write into {folder}.")


def located(path: Path) -> Path:
    """Return the path of which every part looks like that of `path` when it is printed.

    So a path is found that was taken from an output (`mlpmixer.formatting.printable`), or typed
    where the file's name has its accents in another form. `path` itself wins where it exists.
    """
    if os.path.exists(path) or path.parent == path:
        return path
    parent = located(path.parent)
    if os.path.isdir(parent):
        shown = printable(path.name)
        try:
            names = os.listdir(parent)
        except OSError:  # it may be entered and not listed
            names = []
        alike = [name for name in names if printable(name) == shown]
        if len(alike) == 1:
            return parent / alike[0]
    return parent / path.name


def check_utf8(path: Path) -> None:
    """Check that a path can be given to the libraries for weights and logs.

    Raises:
        UsageError: it has bytes that are not UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{path} has bytes that are not UTF-8 in its name, which the libraries for weights and "
            "logs do not take. Rename it."
        ) from None


def _sync_folder(folder: Path) -> None:
    """Force the rename itself to disk, where the system lets folders be opened."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
