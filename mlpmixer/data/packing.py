"""Write a data set as tar shards, several at once, so that a stopped pack can go on."""

import hashlib
import io
import json
import os
import shutil
import tarfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from typing_extensions import Buffer

from mlpmixer.data.blocks import prepare
from mlpmixer.data.class_list import CLASSES, INDEX
from mlpmixer.data.label_sets import label_sets_of
from mlpmixer.data.pack_index import (
    UNFINISHED,
    Left,
    ShardRecord,
    read_index,
    write_index,
)
from mlpmixer.data.pack_plan import PackPlan, ShardPlan
from mlpmixer.data.pack_sample import PackOptions, encode_sample, sample_key
from mlpmixer.data.picture import UnreadableImage
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.files import replacing, write_json, write_text

_SETTINGS = "settings.json"
_AHEAD = 64  # images that are brought onto the disk together, where they are read in blocks


@dataclass(frozen=True)
class Packed:
    """A finished pack."""

    shards: tuple[ShardRecord, ...]
    kept: int
    """How many of them an earlier run had written."""

    @property
    def unreadable(self) -> list[Left]:
        """Return the images that are in no shard."""
        return [left for record in self.shards for left in record.unreadable]


def pack(
    plan: PackPlan,
    folder: Path,
    workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> Packed:
    """Write the shards of a plan, `classes.txt` and `index.json` into a folder.

    What an earlier run of the same plan has finished is kept if its checksum is right and none of
    the images that it lacks can be read by now. An image that cannot be read is left out and stands
    in the index.

    Args:
        plan: what goes where.
        folder: made where it is missing.
        workers: threads, each of which writes a shard; decoding lets them run side by side.
        progress: called in this thread or another with the images done and the number of all.

    Raises:
        UsageError: the folder holds something else, or a pack of another source or options.
        MixerError: a file cannot be written.
    """
    finished = _resume(plan, folder)
    write_text(folder / CLASSES, "".join(f"{name}\n" for name in plan.dataset.class_names))
    count = _Counter(sum(len(shard.indices) for shard in plan.shards), progress)
    waiting = []
    for shard in plan.shards:
        if shard.name in finished:
            count.add(len(shard.indices))
        else:
            waiting.append(shard)
    records = dict(finished)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        writing = [pool.submit(_write_shard, plan, shard, folder, count) for shard in waiting]
        try:
            for one in as_completed(writing):
                record = one.result()
                write_json(folder / UNFINISHED / f"{record.name}.json", record.as_json())
                records[record.name] = record
        except BaseException:
            count.stop()
            pool.shutdown(cancel_futures=True)
            raise
    write_index(folder, plan, records.values())
    shutil.rmtree(folder / UNFINISHED)
    return Packed(tuple(records[shard.name] for shard in plan.shards), len(finished))


class _Stopped(Exception):
    """Another thread has failed or the user has stopped the pack."""


class _Counter:
    """Counts images from many threads, and lets them stop."""

    def __init__(self, total: int, progress: Callable[[int, int], None] | None) -> None:
        self._done, self._total, self._progress = 0, total, progress
        self._lock = threading.Lock()
        self._stopped = False

    def add(self, images: int) -> None:
        with self._lock:
            if self._stopped:
                raise _Stopped
            self._done += images
            if self._progress is not None:
                self._progress(self._done, self._total)

    def stop(self) -> None:
        with self._lock:
            self._stopped = True


def _resume(plan: PackPlan, folder: Path) -> dict[str, ShardRecord]:
    """Prepare the folder; return the shards that are finished."""
    settings = plan.settings()
    unfinished = folder / UNFINISHED
    index = read_index(folder) if folder.is_dir() else None
    if index is not None:
        stored, records = index
    elif (unfinished / _SETTINGS).is_file():
        stored, records = _unfinished(unfinished)
    else:
        _check_empty(folder)
        write_json(unfinished / _SETTINGS, settings)
        return {}
    stored = {**PackOptions().as_json(), **stored}  # an option that came later had its default
    for name, value in settings.items():
        if stored.get(name) != value:
            shown = "" if name in ("source_digest", "classes", "splits") else f" ({value})"
            raise UsageError(
                f"{folder} holds a pack with another {name.replace('_', ' ')}{shown}: "
                "give another folder, or remove it."
            )
    shards = {shard.name: shard for shard in plan.shards}
    finished = {
        record.name: record
        for record in records
        if record.name in shards
        and record.damage(folder) is None
        and not _more_to_read(plan, shards[record.name], record)
    }
    write_json(unfinished / _SETTINGS, settings)
    for record in finished.values():
        write_json(unfinished / f"{record.name}.json", record.as_json())
    (folder / INDEX).unlink(missing_ok=True)
    for left in folder.glob(".*.tar"):  # a shard that was being written
        if any(left.name.startswith(f".{name.removesuffix('.tar')}.") for name in shards):
            left.unlink()
    return finished


def _more_to_read(plan: PackPlan, shard: ShardPlan, record: ShardRecord) -> bool:
    """Tell whether an image can be read that is not in its finished shard.

    The cause may have been a file system that was out of reach for a moment.
    """
    split = plan.dataset.splits[shard.split]
    lacking = {left.name for left in record.unreadable}
    for index in shard.indices.tolist() if lacking else ():
        if split.name(index) in lacking:
            try:
                encode_sample(split, index, plan.options)
            except UnreadableImage:
                continue
            return True
    return False


def _unfinished(folder: Path) -> tuple[dict[str, object], list[ShardRecord]]:
    """Return the settings and the finished shards of a pack that was stopped."""
    try:
        settings = json.loads((folder / _SETTINGS).read_bytes())
        records = [
            ShardRecord.from_json(json.loads(path.read_bytes()))
            for path in sorted(folder.glob("[!.]*.tar.json"))
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise MixerError(
            f"{folder}, in which a stopped pack keeps its state, is damaged ({error}): remove it "
            "and the shards beside it."
        ) from error
    return settings, records


def _check_empty(folder: Path) -> None:
    """Raise UsageError where something else lies where the shards are to go."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: name a new folder for the shards.")
    if not folder.exists():
        return
    # A pack that was killed at once has made nothing but the folder for its state.
    found = sorted(name for name in os.listdir(folder) if name != UNFINISHED)
    if found:
        raise UsageError(
            f"{folder} already holds something else ({found[0]}): name a new folder for the shards."
        )


def _write_shard(plan: PackPlan, shard: ShardPlan, folder: Path, count: _Counter) -> ShardRecord:
    """Write one shard; it appears whole or not at all."""
    split = plan.dataset.splits[shard.split]
    labels, sets, texts = split.labels, label_sets_of(split), plan.label_texts
    images = 0
    per_class = np.zeros(len(texts), dtype=np.int64)
    left: list[Left] = []
    with replacing(folder / shard.name) as part, part.open("wb") as file:
        stream = _Hashing(file)
        with tarfile.open(fileobj=stream, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
            for place, index in enumerate(shard.indices.tolist()):
                if place % _AHEAD == 0:
                    prepare(split, shard.indices[place : place + _AHEAD].tolist())
                try:
                    sample = encode_sample(split, index, plan.options)
                except UnreadableImage as error:
                    left.append(Left(error.name, error.reason))
                else:
                    key = sample_key(index, split.name(index))
                    _add(tar, f"{key}.{sample.suffix}", sample.content)
                    classes = [int(labels[index])] if sets is None else sets.of_image(index)
                    _add(tar, f"{key}.cls", _label_file([texts[label] for label in classes]))
                    per_class[classes] += 1
                    images += 1
                count.add(1)
    return ShardRecord(
        name=shard.name,
        split=shard.split,
        images=images,
        bytes=stream.bytes,
        sha256=stream.digest.hexdigest(),
        per_class=tuple(per_class.tolist()),
        unreadable=tuple(left),
    )


def _label_file(labels: list[str]) -> bytes:
    """Return what a `.cls` file holds: a label as it is, several as a JSON list."""
    return (labels[0] if len(labels) == 1 else json.dumps(labels, ensure_ascii=False)).encode()


class _Hashing(io.RawIOBase):
    """A file to write to that knows the checksum of what it was given."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self.digest = hashlib.sha256()
        self.bytes = 0

    def write(self, content: Buffer, /) -> int:
        self.digest.update(content)
        written = self._file.write(content)
        self.bytes += written
        return written


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)  # of no owner and no time: packs are the same to the byte
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
