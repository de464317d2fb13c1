"""Predictions for many pictures: threads read and crop the next ones while the model computes.

Decoders and the model's kernels run without Python's lock, so threads are enough: nothing is copied
between processes. However many pictures there are, only those of two batches are in memory.
"""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor

from mlpmixer.data.dataset import Split
from mlpmixer.data.picture import UnreadableImage, pixels_for
from mlpmixer.deploy.predictor import Prediction, Predictor


class Row(NamedTuple):
    """What was found out about one picture."""

    position: int
    """Of the picture among all, from 0."""
    predictions: tuple[Prediction, ...] = ()
    """The most probable classes, the most probable first."""
    error: str | None = None
    """Why the picture cannot be read."""


def predict_stream(
    predictor: Predictor,
    pictures: Split,
    positions: Iterable[int],
    k: int,
    *,
    batch_size: int,
    workers: int,
) -> Iterator[list[Row]]:
    """Yield the rows of the pictures at `positions`, in that order, batch by batch.

    Args:
        predictor: what names the classes.
        pictures: where to find them.
        positions: which ones.
        k: how many classes a picture.
        batch_size: pictures that the model sees at a time.
        workers: threads that read and crop; 0: this one does it between the batches.
    """
    preprocessing = predictor.model.preprocessing

    def read(position: int) -> Tensor | UnreadableImage:
        try:
            return pixels_for(pictures, position, preprocessing)
        except UnreadableImage as error:
            return error

    waiting = iter(positions)
    if not workers:
        while batch := list(itertools.islice(waiting, batch_size)):
            yield _rows(predictor, batch, [read(position) for position in batch], k)
        return
    pool = ThreadPoolExecutor(workers)
    try:
        ahead: deque[tuple[int, Future[Tensor | UnreadableImage]]] = deque()
        while True:
            for position in itertools.islice(waiting, 2 * batch_size - len(ahead)):
                ahead.append((position, pool.submit(read, position)))
            if not ahead:
                return
            taken = [ahead.popleft() for _ in range(min(batch_size, len(ahead)))]
            for position in itertools.islice(waiting, batch_size):  # read while this one computes
                ahead.append((position, pool.submit(read, position)))
            found = [future.result() for _, future in taken]
            yield _rows(predictor, [position for position, _ in taken], found, k)
    finally:
        pool.shutdown(cancel_futures=True)


def _rows(
    predictor: Predictor, positions: list[int], found: list[Tensor | UnreadableImage], k: int
) -> list[Row]:
    readable = [pixels for pixels in found if isinstance(pixels, Tensor)]
    ranked = iter(
        predictor.best(predictor.probabilities(torch.stack(readable)), k) if readable else ()
    )
    return [
        Row(position, tuple(next(ranked)))
        if isinstance(one, Tensor)
        else Row(position, error=one.reason)
        for position, one in zip(positions, found, strict=True)
    ]
