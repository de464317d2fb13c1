"""A teacher's logits on disk, for trainings that show every image as it is, again and again.

Each image has a row of a file: its logits, then their checksum. A row that was never written, or
half of it, does not have the right one, so nothing else needs to be kept, and a killed training
leaves nothing that is wrong. Rows are read and written one by one: memory holds those of a batch.
"""

import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mlpmixer.data.augment import changes_nothing
from mlpmixer.errors import MixerError
from mlpmixer.training.plan import Plan
from mlpmixer.training.teacher import Answer

MOST_BYTES = 16 << 30
"""Of a file of answers; where all would take more, none is kept."""
_SUFFIX = ".answers"
_CHECKSUM = 4  # bytes

Ask = Callable[[Tensor], Tensor]
"""From images (B, 3, H, W) to answers (B, K), float32."""


class TeacherLogits:
    """Answers that are asked for once an image.

    Where one of a batch is missing the whole batch is asked: the last bits of an answer depend on
    the batch that it was given in, and a resumed training must get those of an uninterrupted one.

    Args:
        file: opened for reading and writing, without a buffer.
        classes: K, the length of an answer.
        ask: the teacher.
    """

    def __init__(self, file: int, classes: int, ask: Ask) -> None:
        self._file = file
        self._classes = classes
        self._ask = ask

    def __call__(self, images: Tensor, indices: Tensor) -> Tensor:
        """Return the answers (B, K), float32, on the device of the images.

        Args:
            images: (B, 3, H, W) as the teacher takes them.
            indices: (B,) int64, the images' positions in the split, on the CPU.

        Raises:
            MixerError: the file cannot be read or written, for example on a full disk.
        """
        places = indices.tolist()
        try:
            known = [self._read(place) for place in places]
            if any(row is None for row in known):
                fresh = self._ask(images).cpu().numpy()
                for place, row, answer in zip(places, known, fresh, strict=True):
                    if row is None:
                        self._write(place, answer.tobytes())
                os.fsync(self._file)  # a state that is saved later must not outlive them
                known = [self._read(place) for place in places]
        except OSError as error:
            raise MixerError(
                f"cannot keep the teacher's answers: {error.strerror}. What was saved before is "
                "whole: make room, and go on by `mixer train --resume RUN`."
            ) from error
        rows = np.frombuffer(b"".join(row or b"" for row in known), dtype=np.float32)
        answers = torch.from_numpy(rows.reshape(len(places), self._classes).copy())
        return answers.to(images.device)

    @property
    def _width(self) -> int:
        return row_bytes(self._classes)

    def _read(self, place: int) -> bytes | None:
        """Return an image's answer; None where there is none."""
        row = os.pread(self._file, self._width, place * self._width)
        answer, checksum = row[:-_CHECKSUM], row[-_CHECKSUM:]
        whole = len(row) == self._width and zlib.crc32(answer).to_bytes(_CHECKSUM) == checksum
        return answer if whole else None

    def _write(self, place: int, answer: bytes) -> None:
        row, begin = answer + zlib.crc32(answer).to_bytes(_CHECKSUM), place * self._width
        while row:  # on a disk that is almost full a part is written, then an error is raised
            written = os.pwrite(self._file, row, begin)
            row, begin = row[written:], begin + written


def row_bytes(classes: int) -> int:
    """Return the bytes that an image's answer takes."""
    return 4 * classes + _CHECKSUM


@contextmanager
def stored_logits(folder: Path, key: str, classes: int, ask: Ask) -> Iterator[TeacherLogits]:
    """Yield the store of that key in a folder, with what is in it already; others' files go.

    Args:
        folder: a run's own, which is there.
        key: of all that decides on the answers: the teacher and the images.
        classes: K.
        ask: the teacher.

    Raises:
        MixerError: it cannot be made.
    """
    path = folder / f"{key}{_SUFFIX}"
    try:
        for old in folder.glob(f"*{_SUFFIX}"):
            if old != path:
                old.unlink()
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise MixerError(f"cannot write {path}: {error.strerror}.") from error
    try:
        yield TeacherLogits(file, classes, ask)
    finally:
        os.close(file)


@contextmanager
def logits_for(planned: Plan, images: str, folder: Path) -> Iterator[Answer | None]:
    """Yield what gives a training the answers of its teacher; None where it has none.

    Where every image is shown as it is, its answer is kept. Several ranks keep none: they share no
    disk for sure, and an image comes to another one in every epoch.

    Args:
        planned: the training.
        images: the digest of its data.
        folder: the run's own for what a resumed training needs, which is there.

    Raises:
        MixerError: the answers cannot be kept.
    """
    teacher = planned.teacher
    if teacher is None:
        yield None
        return
    classes = planned.model.num_classes
    size = len(planned.dataset.splits["train"]) * row_bytes(classes)
    alone = planned.runtime.ranks.world == 1
    if not (alone and changes_nothing(planned.recipe.augment) and size <= MOST_BYTES):
        yield lambda images, indices: teacher(images)
        return
    what = (teacher.digest, images, planned.model.preprocessing, planned.runtime.precision)
    key = blake2b(repr(what).encode(), digest_size=8).hexdigest()
    with stored_logits(folder, key, classes, teacher) as stored:
        yield stored
