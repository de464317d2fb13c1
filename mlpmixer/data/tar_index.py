"""Where the labelled images of tar shards lie: indexed once, then read at random."""

import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlpmixer.data.cache import data_home, fingerprint
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.files import replacing

_IMAGES = frozenset(
    ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "avif"]
)
_THREADS = 8  # shards indexed at once: hides the waiting of network file systems


@dataclass(frozen=True)
class ShardIndex:
    """Where the images of some shards lie; arrays of (N,)."""

    shard: npt.NDArray[np.int32]
    offset: npt.NDArray[np.int64]
    """Of the image file's first byte in its shard."""
    size: npt.NDArray[np.int64]
    """Of the image file in bytes."""
    keys: npt.NDArray[np.bytes_]
    """The names of the image members, encoded for the file system."""
    labels: npt.NDArray[np.str_]
    """As they stand in the shards."""


class ShardSplit:
    """The images of some uncompressed tar files; it holds no open file, so it can be pickled."""

    def __init__(
        self, shards: Sequence[Path], index: ShardIndex, labels: npt.NDArray[np.int64]
    ) -> None:
        """Hold the images that `index` finds in `shards`, with their `labels` (N,)."""
        self.shards = tuple(shards)
        self.index = index
        self._labels = labels

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class indices, (N,)."""
        return self._labels

    def __len__(self) -> int:
        """Return the number of images, N."""
        return len(self._labels)

    def encoded(self, index: int) -> bytes:
        """Return the bytes of an image member."""
        with self.shards[self.index.shard[index]].open("rb", buffering=0) as file:
            file.seek(int(self.index.offset[index]))
            content: bytes = file.read(int(self.index.size[index]))
            return content

    def name(self, index: int) -> str:
        """Return the shard and the member of an image."""
        member = os.fsdecode(bytes(self.index.keys[index]))
        return f"{self.shards[self.index.shard[index]]}:{member}"


class _Sample(NamedTuple):
    member: str
    offset: int
    size: int
    label: str


def index_shards(shards: Sequence[Path]) -> ShardIndex:
    """Return the index of `shards`, from the cache below `data_home` where it has one.

    Raises UsageError where images have no label, MixerError where a shard is damaged or compressed.
    """
    cached = data_home() / "shards" / f"{fingerprint(shards)}.npz"
    if cached.exists():
        with np.load(cached) as stored:
            return ShardIndex(**stored)
    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(_index_shard, shards))
    samples = [sample for part in found for sample in part]
    if not samples:
        raise UsageError(
            f"{shards[0]} has no labelled images: WebDataset shards hold pairs such as "
            "0001.jpg and 0001.cls."
        )
    members, offsets, sizes, labels = zip(*samples, strict=True)
    index = ShardIndex(
        shard=np.repeat(np.arange(len(found), dtype=np.int32), [len(part) for part in found]),
        offset=np.array(offsets, dtype=np.int64),
        size=np.array(sizes, dtype=np.int64),
        keys=np.array([os.fsencode(member) for member in members], dtype=np.bytes_),
        labels=np.array(labels, dtype=np.str_),
    )
    _store(index, cached)
    return index


def _store(index: ShardIndex, target: Path) -> None:
    """Write the index to `target`, which appears whole or not at all."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as part:
            np.savez(part, **vars(index))
    except OSError as error:
        raise MixerError(
            f"cannot write the index of the shards to {target}: {error.strerror}. "
            "Free some space, or set MLPMIXER_DATA to another folder."
        ) from error


def _index_shard(shard: Path) -> list[_Sample]:
    """Return the samples of one shard in its order."""
    samples = []
    try:
        with tarfile.open(shard, "r:") as tar:
            for key, members in _grouped(tar):
                image = next((kind for kind in members if kind in _IMAGES), None)
                if image is None:
                    continue
                member = members[image]
                label = _read_label(tar, members, shard)
                if label is None:
                    raise UsageError(
                        f"{shard} has no label for {member.name}: add {key}.cls with the "
                        f'class number or name, or {key}.json with "label".'
                    )
                samples.append(_Sample(member.name, member.offset_data, member.size, label))
    except tarfile.TarError as error:
        raise MixerError(
            f"cannot read {shard} as a tar file ({error}). Shards must be whole and, to be read "
            "in any order, uncompressed."
        ) from error
    except OSError as error:
        raise MixerError(f"cannot read {shard}: {error.strerror or error}") from error
    return samples


def _grouped(tar: tarfile.TarFile) -> Iterator[tuple[str, dict[str, tarfile.TarInfo]]]:
    """Yield the key of each sample and its members by extension."""
    samples: dict[str, dict[str, tarfile.TarInfo]] = {}
    for member in tar:
        folder, name = os.path.split(member.name)
        stem, _, extension = name.partition(".")
        if member.isfile() and stem and extension:
            samples.setdefault(os.path.join(folder, stem), {})[extension.lower()] = member
    yield from samples.items()


def _read_label(
    tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], shard: Path
) -> str | None:
    if "cls" in members:
        return _content(tar, members["cls"]).decode(errors="replace").strip()
    if "json" in members:
        try:
            value = json.loads(_content(tar, members["json"]))
        except ValueError as error:
            raise MixerError(f"{shard}:{members['json'].name} is not JSON: {error}") from error
        label = value.get("label") if isinstance(value, dict) else None
        return None if label is None else str(label)
    return None


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return file.read() if file else b""
