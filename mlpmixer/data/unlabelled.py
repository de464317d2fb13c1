"""Pictures without labels: what the user named, in one order with random access."""

import io
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from glob import has_magic
from hashlib import blake2b
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from mlpmixer.data.class_labels import UNLABELLED
from mlpmixer.data.dataset import Split
from mlpmixer.data.folder_scan import FolderScan
from mlpmixer.data.formats import is_image, kind_of, open_image, readable_suffixes
from mlpmixer.data.label_sets import SplitLabels
from mlpmixer.data.picture import UnreadableImage
from mlpmixer.data.sources import expand_pattern
from mlpmixer.data.sources.parquet import parquet_files
from mlpmixer.data.sources.shards import SOURCE as SHARDS
from mlpmixer.data.splits import FileSplit
from mlpmixer.errors import UsageError
from mlpmixer.files import located
from mlpmixer.formatting import printable, shortened

STANDARD_INPUT = "-"
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_NAMED = 60  # characters of a wrong path in a message


@dataclass(frozen=True)
class FoundPictures:
    """What the user's words stand for."""

    pictures: "Pictures"
    passed_over: Counter[str]
    """What was found and not taken, in the plural, and how many of it."""


class Pictures:
    """Pictures of several places, one place after another; a `Split` without labels."""

    def __init__(self, parts: Sequence[Split]) -> None:
        self.parts = tuple(parts)
        self._starts = np.cumsum([0, *map(len, parts)])

    def __len__(self) -> int:
        """Return the number of pictures, N."""
        return int(self._starts[-1])

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """No labels, (N,)."""
        return np.full(len(self), UNLABELLED)

    def encoded(self, index: int) -> bytes | npt.NDArray[np.uint8]:
        """Return the bytes of a picture."""
        part, inside = self._place(index)
        return part.encoded(inside)

    def name(self, index: int) -> str:
        """Return where a picture lies, in a form that can be printed."""
        part, inside = self._place(index)
        return part.name(inside)

    def sizes(self) -> npt.NDArray[np.int64]:
        """Return the bytes of each picture, (N,); 0: missing."""
        return np.concatenate([part.sizes() for part in self.parts])

    def path(self, index: int) -> Path | None:
        """Return the file that is a picture; None where it lies inside of another."""
        part, inside = self._place(index)
        return part.path(inside) if isinstance(part, FileSplit) else None

    @property
    def are_files(self) -> bool:
        """Whether each picture is a file of its own."""
        return all(isinstance(part, FileSplit) for part in self.parts)

    def digest(self) -> str:
        """Return a key of their names, order and sizes in bytes."""
        key = blake2b(digest_size=16)
        for index in range(len(self)):
            key.update(f"{self.name(index)}\0".encode())
        key.update(self.sizes().tobytes())
        return key.hexdigest()

    def _place(self, index: int) -> tuple[Split, int]:
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self.parts[number], index - int(self._starts[number])


class _OnePicture:
    """A picture that came through standard input."""

    labels = np.full(1, UNLABELLED)

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __len__(self) -> int:
        return 1

    def encoded(self, index: int) -> bytes:
        return self._content

    def name(self, index: int) -> str:
        return "standard input"

    def sizes(self) -> npt.NDArray[np.int64]:
        return np.array([len(self._content)])


def find_pictures(inputs: Sequence[str], standard_input: bytes = b"") -> FoundPictures:
    """Return the pictures that the user's words stand for, in their order.

    A file that is named counts as a picture whatever its suffix; of a folder, at any depth, and
    of a pattern only images count, and the rest is passed over. Parquet files, tar shards, and
    folders of them that hold no images give all their images, labelled or not.

    Args:
        inputs: files, folders, patterns, parquet files, tar shards; "-" is standard input.
        standard_input: what came through it: paths, one a line or with a NUL after each, or one
            image's bytes.

    Raises:
        UsageError: an address of the web, nothing of a name, or no picture at all.
        MixerError: a folder, parquet file or shard cannot be read.
    """
    for word in inputs:
        _refuse_address(word)
    passed_over: Counter[str] = Counter()
    parts: list[Split] = []
    files: list[str] = []  # consecutive ones share a part

    def close_files() -> None:
        if files:
            parts.append(_files(files))
            files.clear()

    for word in inputs:
        if word == STANDARD_INPUT:
            close_files()
            parts.append(_from_standard_input(standard_input))
            continue
        path = located(Path(word).expanduser())
        named = os.path.exists(path)
        found = [path] if named or not _is_pattern(word) else expand_pattern(path, word)
        for one in found:
            if not os.path.exists(one):
                raise UsageError(f"there is no file or folder {printable(word)}.")
            if os.path.isdir(one) or _is_table(one):
                close_files()
                parts += _inside(one, passed_over)
            elif named or is_image(one.name):
                files.append(str(one))
            else:
                passed_over[kind_of(one.name)] += 1
    close_files()
    pictures = Pictures([part for part in parts if len(part)])
    if not len(pictures):
        raise UsageError(
            f"no pictures in {', '.join(map(printable, inputs))}: give files that end in "
            f"{', '.join(sorted(readable_suffixes()))}, or folders of them."
        )
    return FoundPictures(pictures, passed_over)


def _refuse_address(word: str) -> None:
    if _ADDRESS.match(word):
        raise UsageError(
            f"{shortened(word, _NAMED)} is an address, and only files are read: "
            "download it and give the file."
        )


def _is_pattern(word: str) -> bool:
    return "{" in word or has_magic(word)


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in (".parquet", ".tar")


def _files(paths: Sequence[str]) -> FileSplit:
    return FileSplit(Path(), paths, np.full(len(paths), UNLABELLED))


def _inside(place: Path, passed_over: Counter[str]) -> list[Split]:
    """Return the pictures in a folder, a parquet file or a shard."""
    if place.suffix.lower() == ".tar" and not place.is_dir():
        return [_in_shards([place], passed_over)]
    if not place.is_dir():
        return [_in_parquet(place)]
    kinds: Counter[str] = Counter()
    (images,) = FolderScan(kinds).images_by_folder([place], place)
    if not images:
        tables: list[Split] = [_in_parquet(file) for file in parquet_files(place)]
        shards = SHARDS.in_folder(place) if SHARDS.in_folder else []
        tables += [_in_shards(shards, passed_over)] if shards else []
        if tables:
            return tables
    passed_over.update(kinds)
    return [FileSplit(place, images, np.full(len(images), UNLABELLED))]


def _in_shards(shards: Sequence[Path], passed_over: Counter[str]) -> Split:
    from mlpmixer.data.tar_index import ShardSplit, index_shards

    index = index_shards(shards, labelled=False)
    passed_over.update(index.passed_over)
    return ShardSplit(shards, index, np.full(len(index.size), UNLABELLED))


def _in_parquet(file: Path) -> Split:
    from mlpmixer.data.columns import find_image_column
    from mlpmixer.data.parquet_files import read_rows, read_schema
    from mlpmixer.data.unpacked_parquet import ParquetSplit

    column = find_image_column(read_schema(file), printable(str(file)))
    images = ParquetSplit([file], column, SplitLabels(np.full(read_rows(file), UNLABELLED)))
    images.check_files()
    return images


def _from_standard_input(content: bytes) -> Split:
    """Return the one picture, or the files, that came through standard input."""
    if not content.strip(b"\0\r\n\t "):
        raise UsageError("standard input is empty: pipe in paths, one a line, or an image.")
    try:
        with open_image(io.BytesIO(content)):
            return _OnePicture(content)
    except Image.DecompressionBombError:
        return _OnePicture(content)  # which says so when it is read
    except (OSError, ValueError, SyntaxError):  # no image that Pillow knows
        pass
    separator = b"\0" if b"\0" in content else b"\n"
    lines = (
        line.rstrip(b"\r") if separator == b"\n" else line for line in content.split(separator)
    )
    paths = [os.fsdecode(line) for line in lines if line]
    for path in paths:
        _refuse_address(path)
    first = shortened(paths[0], _NAMED)
    if not paths[0].isprintable() and not os.path.exists(paths[0]):
        raise UnreadableImage("standard input", "neither an image of a known format nor paths")
    if len(paths) == 1 and not os.path.exists(paths[0]):
        raise UsageError(f"standard input names no file: there is no {first}.")
    return _files(paths)
