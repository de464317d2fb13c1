"""Where the images of tar shards lie: indexed once, then read at random."""

import os
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from mlpmixer.data.cache import data_home, fingerprint
from mlpmixer.data.dataset import counted
from mlpmixer.data.formats import is_image, kind_of, readable_suffixes
from mlpmixer.data.label_sets import LabelSets
from mlpmixer.data.remote import RemotePath
from mlpmixer.data.tar_labels import Labels, labels_in_json, labels_in_text
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.files import replacing
from mlpmixer.formatting import printable

_FORM = "lists of labels, with what was passed over, of whole shards"
_UNLABELLED_FORM = "all images, without lists of labels, with what was passed over, of whole shards"
_LABELS = ("cls", "json")
_THREADS = 8  # shards indexed at once: hides the waiting of network file systems


@dataclass(frozen=True)
class ShardIndex:
    """Where the N images of some shards lie."""

    shard: npt.NDArray[np.int32]
    """Number of each image's shard, (N,)."""
    offset: npt.NDArray[np.int64]
    """Of the image file's first byte in its shard, (N,)."""
    size: npt.NDArray[np.int64]
    """Of the image file in bytes, (N,)."""
    keys: npt.NDArray[np.bytes_]
    """The names of the image members, encoded for the file system, (N,)."""
    texts: npt.NDArray[np.str_]
    """The different labels as they stand in the shards, in their printable form, (U,)."""
    codes: npt.NDArray[np.int32]
    """The labels of one image after another, as indices of `texts`, (M,)."""
    labels: npt.NDArray[np.int32]
    """How many of those each image has, (N,); 0 where none were asked for."""
    kinds: npt.NDArray[np.str_]
    """What was passed over, in the plural, (P,)."""
    counts: npt.NDArray[np.int64]
    """How many of each kind, (P,)."""

    @property
    def passed_over(self) -> dict[str, int]:
        """Return what was passed over, and how many of it."""
        return dict(zip(self.kinds.tolist(), self.counts.tolist(), strict=True))


class ShardSplit:
    """The images of some uncompressed tar files; it holds no open file, so it can be pickled."""

    def __init__(
        self,
        shards: Sequence[Path] | Sequence[RemotePath],
        index: ShardIndex,
        labels: npt.NDArray[np.int64],
        label_sets: LabelSets | None = None,
    ) -> None:
        """Hold the images that `index` finds in `shards`, with their `labels` (N,).

        `label_sets` are all labels of each, where some have several.
        """
        self.shards = tuple(shards)
        self.index = index
        self.label_sets = label_sets
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
        shard = self.shards[self.index.shard[index]]
        assert isinstance(shard, Path)
        with shard.open("rb", buffering=0) as file:
            file.seek(int(self.index.offset[index]))
            content: bytes = file.read(int(self.index.size[index]))
            return content

    def name(self, index: int) -> str:
        """Return the shard and the member of an image."""
        member = os.fsdecode(bytes(self.index.keys[index]))
        return printable(f"{self.shards[self.index.shard[index]]}:{member}")

    def sizes(self) -> npt.NDArray[np.int64]:
        """Return the bytes of each image, (N,)."""
        return self.index.size


class _Sample(NamedTuple):
    member: str
    offset: int
    size: int
    labels: Labels


class _Found(NamedTuple):
    """What one shard holds, in arrays: of millions of images, no object each is kept."""

    offset: npt.NDArray[np.int64]  # (n,)
    size: npt.NDArray[np.int64]  # (n,)
    keys: npt.NDArray[np.bytes_]  # (n,)
    texts: list[str]
    codes: npt.NDArray[np.int32]  # (m,)
    labels: npt.NDArray[np.int32]  # (n,)
    passed_over: Counter[str]

    @classmethod
    def of(cls, samples: Sequence[_Sample], passed_over: Counter[str]) -> "_Found":
        texts: dict[str, int] = {}
        codes = [texts.setdefault(text, len(texts)) for one in samples for text in one.labels]
        return cls(
            offset=np.array([one.offset for one in samples], dtype=np.int64),
            size=np.array([one.size for one in samples], dtype=np.int64),
            keys=np.array([os.fsencode(one.member) for one in samples], dtype=np.bytes_),
            texts=list(texts),
            codes=np.array(codes, dtype=np.int32),
            labels=np.array([len(one.labels) for one in samples], dtype=np.int32),
            passed_over=passed_over,
        )


def index_shards(shards: Sequence[Path | RemotePath], *, labelled: bool = True) -> ShardIndex:
    """Return the index of `shards`, from the cache below `data_home` where it has one.

    Of the labelled images or, where labels are not needed, of every image member.

    Raises UsageError where no image has a label, MixerError where a shard is damaged or compressed.
    """
    form = _FORM if labelled else _UNLABELLED_FORM
    key = fingerprint(shards, form, *sorted(readable_suffixes()))
    cached = data_home() / "shards" / f"{key}.npz"
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{cached}.lock"):  # of several processes one reads, and the others wait
            if not cached.exists():
                index = _index(shards, labelled)
                with replacing(cached) as part:
                    np.savez(part, **vars(index))
            with np.load(cached) as stored:
                return ShardIndex(**stored)
    except OSError as error:
        raise MixerError(
            f"cannot write the index of the shards to {cached}: {error.strerror or error}. "
            "Free some space, or set MLPMIXER_DATA to another folder."
        ) from error


def _index(shards: Sequence[Path | RemotePath], labelled: bool) -> ShardIndex:
    """Return the index of `shards`, read from end to end."""
    index_one = _index_shard if labelled else _index_images
    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(lambda shard: _indexed(index_one, shard), shards))
    passed_over = sum((part.passed_over for part in found), Counter[str]())
    if labelled and not any(len(part.size) for part in found):
        held = f" It holds {counted(passed_over)}." if passed_over else ""
        raise UsageError(
            f"{shards[0]} has no labelled images: WebDataset shards hold pairs such as 0001.jpg "
            'and 0001.cls, with the class number or name, or 0001.json with "label".'
            f"{held}"
        )
    texts: dict[str, int] = {}
    tables = [
        np.array([texts.setdefault(text, len(texts)) for text in part.texts], dtype=np.int32)
        for part in found
    ]
    codes = [table[part.codes] for table, part in zip(tables, found, strict=True)]
    return ShardIndex(
        shard=np.repeat(np.arange(len(found), dtype=np.int32), [len(part.size) for part in found]),
        offset=np.concatenate([part.offset for part in found]),
        size=np.concatenate([part.size for part in found]),
        keys=np.concatenate([part.keys for part in found]),
        texts=np.array(list(texts), dtype=np.str_),
        codes=np.concatenate(codes),
        labels=np.concatenate([part.labels for part in found]),
        kinds=np.array(list(passed_over), dtype=np.str_),
        counts=np.array(list(passed_over.values()), dtype=np.int64),
    )


def _indexed(
    index_one: Callable[[Path], tuple[list[_Sample], Counter[str]]], shard: Path | RemotePath
) -> _Found:
    """Return what `index_one` finds in a shard; a remote one is read once from end to end."""
    if isinstance(shard, Path):
        return _Found.of(*index_one(shard))
    with shard.copied(data_home() / "shards") as copy:
        try:
            return _Found.of(*index_one(copy))
        except MixerError as error:
            raise type(error)(str(error).replace(str(copy), str(shard))) from error


def _index_shard(shard: Path) -> tuple[list[_Sample], Counter[str]]:
    """Return the samples of one shard in its order, and what was passed over."""
    samples = []
    passed_over: Counter[str] = Counter()
    with _opened(shard) as tar:
        for members in _grouped(tar, passed_over):
            image = next((kind for kind in members if f".{kind}" in readable_suffixes()), None)
            if image is None:
                passed_over.update(_without_image(members))
                continue
            member = members[image]
            labels = _read_labels(tar, members, shard)
            if not labels:
                passed_over["images without label"] += 1
                continue
            samples.append(_Sample(member.name, member.offset_data, member.size, labels))
    return samples, passed_over


def _index_images(shard: Path) -> tuple[list[_Sample], Counter[str]]:
    """Return all images of one shard in its order, without labels, and what was passed over."""
    images: dict[str, _Sample] = {}
    passed_over: Counter[str] = Counter()
    with _opened(shard) as tar:
        for member in _members(tar):
            name = os.path.basename(member.name)
            label = name.rpartition(".")[2].lower() in _LABELS
            if member.isdir() or name.startswith(".") or label:  # hidden, as macOS's ._0001.jpg
                continue
            if not member.isfile():
                passed_over["links and devices"] += 1
            elif not is_image(name):
                passed_over[kind_of(name)] += 1
            else:
                if images.pop(member.name, None) is not None:
                    passed_over["members before another of the same name"] += 1
                sample = _Sample(member.name, member.offset_data, member.size, ())
                images[member.name] = sample
    return list(images.values()), passed_over


@contextmanager
def _opened(shard: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(shard, "r:") as tar:
            yield tar
    except tarfile.TarError as error:
        raise MixerError(
            f"cannot read {shard} as a tar file ({error}). Shards must be whole and, to be read "
            "in any order, uncompressed."
        ) from error
    except OSError as error:
        raise MixerError(f"cannot read {shard}: {error.strerror or error}") from error


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the members of a tar file up to its end mark.

    Raises tarfile.ReadError where there is something else: tarfile itself takes a damaged header,
    or none at all, for the end.
    """
    yield from tar
    assert tar.fileobj is not None
    tar.fileobj.seek(tar.offset)
    end = tar.fileobj.read(tarfile.BLOCKSIZE)
    if any(end):
        raise tarfile.ReadError(f"the header at byte {tar.offset:,} is damaged or cut off")
    if len(end) < tarfile.BLOCKSIZE:
        raise tarfile.ReadError(
            f"it stops at byte {tar.offset + len(end):,} without the 1,024 bytes of zeros that "
            "mark the end: append them if nothing is missing"
        )


def _grouped(tar: tarfile.TarFile, passed_over: Counter[str]) -> list[dict[str, tarfile.TarInfo]]:
    """Return the members of each sample by extension; of several of one name, the last one."""
    samples: dict[str, dict[str, tarfile.TarInfo]] = {}
    for member in _members(tar):
        folder, name = os.path.split(member.name)
        stem, _, extension = name.partition(".")
        if member.isdir() or not stem:  # hidden, as macOS's ._0001.jpg
            continue
        if not member.isfile():
            passed_over["links and devices"] += 1
        elif not extension:
            passed_over[kind_of(name)] += 1
        else:
            sample = samples.setdefault(os.path.join(folder, stem), {})
            if extension.lower() in sample:
                passed_over["members before another of the same name"] += 1
            sample[extension.lower()] = member
    return list(samples.values())


def _without_image(members: dict[str, tarfile.TarInfo]) -> dict[str, int]:
    """Return what a sample holds that has no image, in the plural, and how many of it."""
    others = [kind for kind in members if kind not in _LABELS]
    if dotted := [kind for kind in others if "." in kind and is_image(f"x.{kind}")]:
        return {"images with a dot in their name, where a sample's name ends": len(dotted)}
    return {kind_of(f"x.{others[0]}") if others else "labels without image": 1}


def _read_labels(tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], shard: Path) -> Labels:
    """Return a sample's labels; none where it has none."""
    for kind, read in (("cls", labels_in_text), ("json", labels_in_json)):
        if kind in members:
            member = members[kind]
            return read(_content(tar, member), f"{shard}:{member.name}")
    return ()


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return file.read() if file else b""
