"""Images that do not fit in memory: decoded and cropped by worker processes, just in time.

A worker is asked for a part of a batch and returns it as one tensor: what travels between two
processes takes a file descriptor each, of which a process has often no more than 1024.
"""

import atexit
import multiprocessing.process
import multiprocessing.util  # registers first what it does at the end
import os
import re
import signal
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mlpmixer.data.batches import Batch, BatchLabels, UnreadableImages
from mlpmixer.data.blocks import prepare
from mlpmixer.data.dataset import Split
from mlpmixer.data.order import order_of, to_try
from mlpmixer.data.picture import UnreadableImage, pixels_for
from mlpmixer.data.random_crops import CropDraws, RandomCrop
from mlpmixer.data.training_picture import TrainingPicture
from mlpmixer.errors import MixerError
from mlpmixer.models.preprocessing import Preprocessing
from mlpmixer.ranks import ALONE, Ranks

PART = 64
"""Images that a worker is asked for at a time."""


class _Wanted(NamedTuple):
    """A part of a batch that a worker is asked for."""

    step: int | None  # None asks for evaluation crops
    batch_size: int
    own: int  # how many of the batch this process wants in all
    begin: int  # how many of those come before these
    positions: range  # of these in the batch
    indices: list[int]


class _Part(NamedTuple):
    """What it returns."""

    wanted: _Wanted
    pixels: Tensor  # uint8 (n, 3, H, W)
    indices: list[int]  # of those n images
    problems: list[UnreadableImage]
    failure: MixerError | None


class _Worker(Dataset[_Part]):
    """Decodes and crops; runs in the worker processes."""

    def __init__(
        self,
        split: Split,
        preprocessing: Preprocessing,
        crop: RandomCrop,
        seed: int,
        at_work: Tensor,
    ) -> None:
        self.split = split
        self.preprocessing = preprocessing
        self.crop = crop
        self.seed = seed
        self.at_work = at_work

    def __getitem__(self, wanted: _Wanted) -> _Part:
        problems: list[UnreadableImage] = []
        try:
            prepare(self.split, wanted.indices)
            if wanted.step is not None and self.crop.of_whole_pictures:
                pixels, indices = self._cut_out(wanted, wanted.step, problems)
            else:
                pixels, indices = self._read(wanted, problems)
        except MixerError as error:
            nothing = torch.empty(0, 3, *self.preprocessing.image_size, dtype=torch.uint8)
            return _Part(wanted, nothing, [], problems, error)
        return _Part(wanted, pixels, indices, problems, None)

    def _read(self, wanted: _Wanted, problems: list[UnreadableImage]) -> tuple[Tensor, list[int]]:
        """Return evaluation crops, or what training shifts and flips of them, and their indices."""
        images: list[Tensor] = []
        indices: list[int] = []
        for position, index in zip(wanted.positions, wanted.indices, strict=True):
            for tried in self._to_try(index, wanted.step, position):
                if indices and indices[-1] == tried:  # a copy is decoded once
                    images.append(images[-1])
                else:
                    try:
                        self._say_at_work(tried)
                        images.append(pixels_for(self.split, tried, self.preprocessing))
                    except UnreadableImage as error:
                        problems.append(error)
                        continue
                indices.append(tried)
                break
        if not images:
            return torch.empty(0, 3, *self.preprocessing.image_size, dtype=torch.uint8), []
        pixels = torch.stack(images)
        if wanted.step is not None:
            pixels = self.crop.apply(pixels, self._draws(wanted, wanted.step))
        return pixels, indices

    def _cut_out(
        self, wanted: _Wanted, step: int, problems: list[UnreadableImage]
    ) -> tuple[Tensor, list[int]]:
        """Return training crops of whole pictures, and their indices.

        The boxes are known once the headers are read, so that no more is decoded than they need.
        """
        draws = self._draws(wanted, step)
        flips = draws.flips.tolist()
        size = self.preprocessing.image_size
        pixels = torch.empty(len(wanted.indices), 3, *size, dtype=torch.uint8)
        indices = list(wanted.indices)
        to_try = [
            iter(self._to_try(index, step, position))
            for position, index in zip(wanted.positions, wanted.indices, strict=True)
        ]
        missing = list(range(len(indices)))
        while missing:
            pictures = self._open([to_try[place] for place in missing], problems)
            boxes = self.crop.boxes(draws.part(missing), [picture.size for picture in pictures])
            unreadable = []
            for place, picture, box in zip(missing, pictures, boxes.tolist(), strict=True):
                self._say_at_work(picture.index)
                try:
                    picture.crop(box, flips[place], out=pixels[place])
                except UnreadableImage as error:
                    problems.append(error)
                    unreadable.append(place)
                else:
                    indices[place] = picture.index
            missing = unreadable
        return pixels, indices

    def _open(
        self, to_try: Iterable[Iterator[int]], problems: list[UnreadableImage]
    ) -> list[TrainingPicture]:
        """Return for each the first picture of those to try whose header can be read."""
        pictures: list[TrainingPicture] = []
        for tries in to_try:
            for tried in tries:
                if pictures and pictures[-1].index == tried:
                    pictures[-1].cropped_again = True
                    pictures.append(pictures[-1])
                    break
                self._say_at_work(tried)
                try:
                    picture = TrainingPicture(self.split, tried, self.preprocessing)
                except UnreadableImage as error:
                    problems.append(error)
                else:
                    pictures.append(picture)
                    break
        return pictures

    def _to_try(self, index: int, step: int | None, position: int) -> Iterable[int]:
        if step is None:
            return (index,)
        return to_try(self.split, index, self.seed, step, position)

    def _say_at_work(self, index: int) -> None:
        worker = torch.utils.data.get_worker_info()
        if worker is not None:
            self.at_work[worker.id, 0], self.at_work[worker.id, 1] = os.getpid(), index

    def _draws(self, wanted: _Wanted, step: int) -> CropDraws:
        """Return what was drawn for the positions of a part of a batch."""
        positions = wanted.positions
        draws = self.crop.draw(wanted.batch_size, self.seed, step)
        return draws.part(slice(positions.start, positions.stop, positions.step))


_at_work: set[multiprocessing.process.BaseProcess] = set()


@atexit.register
def _end_workers() -> None:
    """End the workers of batches that nobody took to the end, or that an error still holds.

    Python ends them by SIGTERM, which they do not heed, and would wait forever. What is registered
    last is called first.
    """
    for process in _at_work:
        process.kill()


def _leave_stopping_to_the_parent(_: int) -> None:
    """Ignore signals that a terminal or a scheduler sends to all processes of a command at once.

    The parent needs the workers until it has saved, and they end when it does.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if hasattr(signal, "SIGHUP"):  # not on Windows
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


class StreamedImages:
    """The images of a split, decoded when they are wanted.

    Args:
        split: the labelled, encoded images.
        preprocessing: how a picture becomes the model's input.
        crop: how training images are cropped.
        workers: processes that decode; 0 decodes in this one.
        unreadable: takes the images that cannot be read.
    """

    in_memory = False
    bytes_for_device = 0

    def __init__(
        self,
        split: Split,
        preprocessing: Preprocessing,
        crop: RandomCrop,
        workers: int,
        unreadable: UnreadableImages,
    ) -> None:
        self.split = split
        self.preprocessing = preprocessing
        self.crop = crop
        self.workers = workers
        self.unreadable = unreadable
        self._labels = BatchLabels(split)
        self._pinned = False

    @property
    def labels(self) -> Tensor:
        """The first or only class of each image, (N,)."""
        return self._labels.labels

    def __len__(self) -> int:
        return len(self.split)

    def to(self, device: torch.device) -> None:
        """Nothing is in memory: batches are moved as they come."""

    def pin(self) -> None:
        """Deliver batches in pinned memory, from where they are copied in the background."""
        self._pinned = True

    def digest(self) -> str | None:
        """Return None: the pixels are not known before they are wanted."""
        return None

    def training_batches(
        self, batch_size: int, seed: int, first_step: int, ranks: Ranks = ALONE
    ) -> Iterator[Batch]:
        """Yield endless batches, shuffled anew each epoch; incomplete ones are left out.

        In place of an image that cannot be read another one is drawn. Of several ranks each gets
        its own positions of every batch, `ranks.own`.
        """
        orders = order_of(self.split, batch_size, seed, first_step, self.crop.options.repeats)
        return self._batches(enumerate(orders, first_step), batch_size, seed, ranks.own)

    def evaluation_batches(self, batch_size: int, ranks: Ranks = ALONE) -> Iterator[Batch]:
        """Yield all images in order, those that cannot be read left out.

        Of several ranks each gets its own batches of those, `ranks.own`.
        """
        orders = torch.arange(len(self)).split(batch_size)[ranks.own]
        wanted = ((None, order) for order in orders)
        return self._batches(wanted, batch_size, 0, slice(0, None, 1))

    def _batches(
        self, orders: Iterable[tuple[int | None, Tensor]], batch_size: int, seed: int, own: slice
    ) -> Iterator[Batch]:
        """Yield the `own` positions of the batches in `orders`, each with its step."""
        pixels = torch.empty(0)
        indices: list[int] = []
        for part in self._parts(orders, batch_size, seed, own):
            for problem in part.problems:
                self.unreadable.add(problem.name, problem.reason)
            if part.failure is not None:
                raise part.failure
            asked, begin = len(part.wanted.indices), part.wanted.begin
            last = begin + asked == part.wanted.own
            if begin == 0 and last and not self._pinned:
                pixels, indices = part.pixels, part.indices  # the whole batch: no need to copy it
            else:
                if begin == 0:
                    pixels, indices = self._room(part.wanted.own), []
                pixels[len(indices) : len(indices) + len(part.indices)] = part.pixels
                indices += part.indices
            if last and indices:
                chosen = torch.tensor(indices)
                labels = self._labels.of(chosen)
                labels = labels.pin_memory() if self._pinned else labels
                yield Batch(pixels[: len(indices)], labels, chosen)

    def _room(self, count: int) -> Tensor:
        size = self.preprocessing.image_size
        return torch.empty(count, 3, *size, dtype=torch.uint8, pin_memory=self._pinned)

    def _parts(
        self, orders: Iterable[tuple[int | None, Tensor]], batch_size: int, seed: int, own: slice
    ) -> Iterator[_Part]:
        wanted = (
            _Wanted(
                step,
                len(order),
                len(positions),
                begin,
                positions[begin : begin + PART],
                order[own][begin : begin + PART].tolist(),
            )
            for step, order in orders
            for positions in [range(len(order))[own]]
            for begin in range(0, len(positions), PART)
        )
        at_work = torch.full((max(1, self.workers), 2), -1).share_memory_()
        # While a step computes, the workers prepare the next batch, and no more than that.
        own_size = len(range(batch_size)[own])
        ahead = max(2, -(-own_size // (PART * max(1, self.workers))))
        loader = DataLoader(
            _Worker(self.split, self.preprocessing, self.crop, seed, at_work),
            batch_size=None,
            sampler=wanted,
            num_workers=self.workers,
            prefetch_factor=ahead if self.workers else None,
            worker_init_fn=_leave_stopping_to_the_parent,
        )
        others = set(multiprocessing.active_children())
        parts = iter(loader)
        _at_work.intersection_update(others)  # the rest has ended
        _at_work.update(set(multiprocessing.active_children()) - others)
        try:
            yield from parts
        except RuntimeError as error:
            text = str(error).splitlines()[0]
            ended = re.findall(r"\d+", text) if text.startswith("DataLoader worker (pid") else ()
            for process, index in at_work.tolist():
                if str(process) in ended:
                    raise MixerError(
                        f"the process that decoded {self.split.name(index)} ended ({text}). "
                        "Look at that image; if memory ran out, use fewer --workers."
                    ) from error
            raise
