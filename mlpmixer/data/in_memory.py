"""Images that fit in memory: decoded once, kept as uint8."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b

import torch
from torch import Tensor

from mlpmixer.data.batches import Batch, BatchLabels, UnreadableImages
from mlpmixer.data.blocks import prepare
from mlpmixer.data.dataset import Split
from mlpmixer.data.image_sizes import common_size
from mlpmixer.data.order import order_of, to_try
from mlpmixer.data.picture import (
    UnreadableImage,
    as_picture,
    evaluation_crop,
    least_side,
    pixels_for,
)
from mlpmixer.data.random_crops import RandomCrop
from mlpmixer.data.training_picture import TrainingPicture
from mlpmixer.models.preprocessing import Preprocessing
from mlpmixer.ranks import ALONE, Ranks

_AT_ONCE = 1000  # images between two reports of progress


class InMemoryImages:
    """All images of a split, decoded once.

    Kept as evaluation crops; where training crops need whole pictures, as those, in one tensor
    if they are all of one size.

    Args:
        split: the labelled, encoded images.
        preprocessing: how a picture becomes the model's input.
        crop: how training images are cropped.
        workers: threads that decode.
        unreadable: takes the images that cannot be read.
        on_progress: called with the share decoded, in [0, 1].
    """

    in_memory = True

    def __init__(
        self,
        split: Split,
        preprocessing: Preprocessing,
        crop: RandomCrop,
        workers: int,
        unreadable: UnreadableImages,
        on_progress: Callable[[float], None] | None = None,
    ) -> None:
        self.split = split
        self.preprocessing = preprocessing
        self.crop = crop
        self.unreadable = unreadable
        self._labels = BatchLabels(split)
        self.readable = torch.ones(len(split), dtype=torch.bool)
        self.pixels = _room(split, preprocessing, crop)
        """All images in one tensor (N, 3, h, w); None where their sizes differ."""
        self.pictures: dict[int, Tensor] = {}
        """Those that do not fit in there, (3, h, w) each."""
        self._pinned = False

        def read(index: int) -> UnreadableImage | None:
            try:
                if crop.of_whole_pictures:
                    self._keep(index, TrainingPicture(split, index, preprocessing).pixels())
                else:
                    self._keep(index, pixels_for(split, index, preprocessing))
            except UnreadableImage as error:
                self.readable[index] = False
                return error
            return None

        with ThreadPoolExecutor(max(1, workers)) as pool:
            for begin in range(0, len(split), _AT_ONCE):
                some = range(begin, min(begin + _AT_ONCE, len(split)))
                prepare(split, some)
                for problem in pool.map(read, some):
                    if problem is not None:
                        unreadable.add(problem.name, problem.reason)
                if on_progress is not None:
                    on_progress(some.stop / len(split))
        if self.pixels is not None:
            self.pixels[~self.readable] = 0  # what memory held there before is no part of the data
        if self.pictures and self.pixels is not None:  # not all of one size after all
            rows = {index: self.pixels[index] for index in range(len(split))}
            self.pictures, self.pixels = {**rows, **self.pictures}, None

    def _keep(self, index: int, pixels: Tensor) -> None:
        if self.pixels is not None and pixels.shape == self.pixels.shape[1:]:
            self.pixels[index] = pixels
        else:
            self.pictures[index] = pixels

    @property
    def labels(self) -> Tensor:
        """The first or only class of each image, (N,)."""
        return self._labels.labels

    def __len__(self) -> int:
        return len(self.split)

    @property
    def bytes_for_device(self) -> int:
        """The bytes of all images; 0 for pictures of many sizes, which are cropped on the CPU."""
        return 0 if self.pixels is None else self.pixels.nbytes

    def to(self, device: torch.device) -> None:
        """Move the images to the device."""
        if self.pixels is not None:
            self.pixels = self.pixels.to(device)
            self._labels.to(device)

    def pin(self) -> None:
        """Deliver batches in pinned memory, from where they are copied in the background."""
        self._pinned = True

    def digest(self) -> str:
        """Return a key of the pixels and labels."""
        key = blake2b(repr((self.preprocessing, len(self))).encode(), digest_size=16)
        parts = [*self._labels.parts(), self.readable]
        parts += [self.pixels] if self.pixels is not None else []
        parts += [self.pictures[index] for index in sorted(self.pictures)]
        for tensor in parts:
            key.update(repr(tuple(tensor.shape)).encode())
            key.update(tensor.cpu().contiguous().numpy().data)
        return key.hexdigest()

    def training_batches(
        self, batch_size: int, seed: int, first_step: int, ranks: Ranks = ALONE
    ) -> Iterator[Batch]:
        """Yield endless batches, shuffled anew each epoch; incomplete ones are left out.

        In place of an image that cannot be read another one is drawn. Of several ranks each gets
        its own positions of every batch, `ranks.own`.
        """
        orders = order_of(self.split, batch_size, seed, first_step, self.crop.options.repeats)
        for step, indices in enumerate(orders, first_step):
            indices = indices.clone()
            for position in (~self.readable[indices]).nonzero().flatten().tolist():
                tried = to_try(self.split, int(indices[position]), seed, step, position)
                indices[position] = next(index for index in tried if self.readable[index])
            indices = indices[ranks.own]
            draws = self.crop.draw(batch_size, seed, step).part(ranks.own)
            yield self._batch(self.crop.apply(self._stored(indices), draws), indices)

    def evaluation_batches(self, batch_size: int, ranks: Ranks = ALONE) -> Iterator[Batch]:
        """Yield all images in order, those that cannot be read left out.

        Of several ranks each gets its own batches of those, `ranks.own`.
        """
        for indices in torch.arange(len(self)).split(batch_size)[ranks.own]:
            indices = indices[self.readable[indices]]
            if not len(indices):
                continue
            images = self._stored(indices)
            if self.crop.of_whole_pictures:
                cropped = [evaluation_crop(as_picture(one), self.preprocessing) for one in images]
                images = torch.stack(cropped)
            assert isinstance(images, Tensor)
            yield self._batch(images, indices)

    def _stored(self, indices: Tensor) -> Tensor | list[Tensor]:
        if self.pixels is None:
            return [self.pictures[index] for index in indices.tolist()]
        if self.crop.of_whole_pictures and self.pixels.device.type == "cpu":
            return [self.pixels[index] for index in indices.tolist()]  # each is cut out by itself
        return self.pixels[indices.to(self.pixels.device)]

    def _batch(self, images: Tensor, indices: Tensor) -> Batch:
        labels = self._labels.of(indices)
        if self._pinned:
            images, labels = images.pin_memory(), labels.pin_memory()
        return Batch(images, labels, indices)


def _room(split: Split, preprocessing: Preprocessing, crop: RandomCrop) -> Tensor | None:
    """Return room for all images in one tensor, None where they are pictures of many sizes."""
    if not crop.of_whole_pictures:
        return torch.empty(len(split), 3, *preprocessing.image_size, dtype=torch.uint8)
    size = common_size(split, at_least=least_side(preprocessing))
    if size is None:
        return None
    # Channels last, as decoders deliver pixels: boxes are cut out of it faster.
    return torch.empty(len(split), 3, *size, dtype=torch.uint8, memory_format=torch.channels_last)
