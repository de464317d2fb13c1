"""Images that fit in memory: decoded once, kept as uint8."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b

import numpy as np
import torch
from PIL import Image

from mlpmixer.data.batches import Batch, Unreadable, training_order
from mlpmixer.data.dataset import Split
from mlpmixer.data.picture import UnreadableImage, decode


class InMemoryImages:
    """All images of a split, decoded once, as one uint8 tensor (N, 3, h, w)."""

    in_memory = True

    def __init__(
        self,
        split: Split,
        size: tuple[int, int],
        workers: int,
        unreadable: Unreadable,
        on_progress: Callable[[float], None] | None = None,
    ) -> None:
        self.size = size
        self.unreadable = unreadable
        height, width = size
        pixels = torch.empty(len(split), 3, height, width, dtype=torch.uint8)
        aspect_ratios = torch.ones(len(split))
        readable = np.ones(len(split), dtype=bool)

        def read(index: int) -> str | None:
            try:
                image = decode(split, index, at_least=min(size))
            except UnreadableImage as error:
                return str(error)
            aspect_ratios[index] = image.width / image.height
            if image.size != (width, height):
                image = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2)
            pixels[index] = torch.from_numpy(np.array(image)).permute(2, 0, 1)
            return None

        with ThreadPoolExecutor(max(1, workers)) as pool:
            for index, problem in enumerate(pool.map(read, range(len(split)))):
                if problem is not None:
                    readable[index] = False
                    unreadable.add(split.name(index), problem)
                if on_progress is not None and (index + 1) % 1000 in (0, len(split) % 1000):
                    on_progress((index + 1) / len(split))
        self.indices = torch.from_numpy(np.flatnonzero(readable))
        everything = bool(readable.all())
        self.pixels = pixels if everything else pixels[self.indices]
        self.labels = torch.as_tensor(split.labels, dtype=torch.int64)[self.indices]
        ratios = aspect_ratios[self.indices]
        self.aspect_ratios = None if bool((ratios == width / height).all()) else ratios

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> None:
        """Move the pixels to the device."""
        self.pixels = self.pixels.to(device)
        self.labels = self.labels.to(device)

    def digest(self) -> str:
        """Return a key of the pixels and labels."""
        key = blake2b(repr(tuple(self.pixels.shape)).encode(), digest_size=16)
        for tensor in (self.pixels, self.labels, self.aspect_ratios):
            if tensor is not None:
                key.update(tensor.cpu().contiguous().numpy().data)
        return key.hexdigest()

    def training_batches(self, batch_size: int, seed: int, first_step: int) -> Iterator[Batch]:
        """Yield endless batches, shuffled anew each epoch; incomplete ones are left out."""
        for chosen in training_order(len(self), batch_size, seed, first_step):
            yield self._batch(chosen)

    def evaluation_batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield all readable images once, in order."""
        for begin in range(0, len(self), batch_size):
            yield self._batch(torch.arange(begin, min(begin + batch_size, len(self))))

    def _batch(self, chosen: torch.Tensor) -> Batch:
        ratios = None if self.aspect_ratios is None else self.aspect_ratios[chosen]
        indices = self.indices[chosen]
        chosen = chosen.to(self.pixels.device)
        return Batch(self.pixels[chosen], self.labels[chosen], indices, ratios)
