"""Images that do not fit in memory: decoded and cropped by worker processes, just in time."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mlpmixer.data.batches import Batch, Unreadable, training_order
from mlpmixer.data.crops import central_pixel_box, inception_pixel_box
from mlpmixer.data.dataset import Split
from mlpmixer.data.picture import UnreadableImage, decode
from mlpmixer.randomness import generator

Key = tuple[int, int | None]
"""An image's index and, for training, the step it is drawn at; None asks for the central crop."""


class _Item(NamedTuple):
    position: int
    pixels: Tensor | None  # uint8 (3, H, W)
    problem: str


class _Decoder(Dataset[_Item]):
    """Decodes and crops one image; runs in the worker processes."""

    def __init__(
        self,
        split: Split,
        image_size: tuple[int, int],
        crop_scale: tuple[float, float] | None,
        seed: int,
    ) -> None:
        self.split = split
        self.image_size = image_size
        self.crop_scale = crop_scale
        self.seed = seed

    def __getitem__(self, key: Key) -> _Item:
        index, step = key
        height, width = self.image_size
        try:
            image = decode(self.split, index, at_least=2 * max(height, width))
        except UnreadableImage as error:
            return _Item(index, None, str(error))
        if step is None or self.crop_scale is None:
            box = central_pixel_box(image.width, image.height, self.image_size)
        else:
            chance = generator(self.seed, "crop", step, index)
            box = inception_pixel_box(
                image.width, image.height, self.image_size, chance, scale=self.crop_scale
            )
        bilinear = Image.Resampling.BILINEAR
        image = image.resize((width, height), bilinear, box=box, reducing_gap=2)
        return _Item(index, torch.from_numpy(np.array(image)).permute(2, 0, 1), "")


class StreamedImages:
    """The images of a split, decoded when they are wanted.

    Args:
        split: the labelled, encoded images.
        image_size: (height, width) that they are cropped and resized to.
        crop_scale: shares of the area that random training crops keep; None crops the centre.
        workers: processes that decode; 0 decodes in this one.
        unreadable: takes the images that cannot be read.
    """

    in_memory = False

    def __init__(
        self,
        split: Split,
        image_size: tuple[int, int],
        crop_scale: tuple[float, float] | None,
        workers: int,
        unreadable: Unreadable,
    ) -> None:
        self.split = split
        self.size = image_size
        self.crop_scale = crop_scale
        self.workers = workers
        self.unreadable = unreadable
        self.labels = torch.as_tensor(split.labels, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.split)

    def to(self, device: torch.device) -> None:
        """Nothing is in memory: batches are moved as they come."""

    def digest(self) -> str | None:
        """Return None: the pixels are not known before they are wanted."""
        return None

    def training_batches(self, batch_size: int, seed: int, first_step: int) -> Iterator[Batch]:
        """Yield endless batches, shuffled anew each epoch; incomplete ones are left out."""
        orders = training_order(len(self), batch_size, seed, first_step)
        keys: Iterable[list[Key]] = (
            [(int(index), step) for index in order] for step, order in enumerate(orders, first_step)
        )
        return self._batches(keys, seed)

    def evaluation_batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield all readable images once, in order."""
        begins = range(0, len(self), batch_size)
        keys: Iterable[list[Key]] = (
            [(index, None) for index in range(begin, min(begin + batch_size, len(self)))]
            for begin in begins
        )
        return self._batches(keys, seed=0)

    def _batches(self, keys: Iterable[list[Key]], seed: int) -> Iterator[Batch]:
        decoder = _Decoder(self.split, self.size, self.crop_scale, seed)
        loader = DataLoader(
            decoder,
            batch_sampler=keys,
            num_workers=self.workers,
            collate_fn=list,
        )
        for items in loader:
            readable = [item for item in items if item.pixels is not None]
            for item in items:
                if item.pixels is None:
                    self.unreadable.add(self.split.name(item.position), item.problem)
            if readable:
                indices = torch.tensor([item.position for item in readable])
                pixels = torch.stack([item.pixels for item in readable])
                yield Batch(pixels, self.labels[indices], indices, None)
