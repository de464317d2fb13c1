"""A model run over images: the one loop over batches that validation, evaluation and probes use."""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from mlpmixer.data.augment import normalize
from mlpmixer.data.batches import ImagesInOrder
from mlpmixer.errors import UsageError
from mlpmixer.models.capture import capture
from mlpmixer.models.interface import ImageModel
from mlpmixer.runtime import Runtime

BATCH_SIZE = 256

Output = Callable[[ImageModel, Tensor], Tensor]
"""What is asked of a model, from images (B, 3, H, W) in [-1, 1]."""


class Answers(NamedTuple):
    """What a model says of a batch."""

    values: Tensor
    """float32 (B, …), on the device."""
    labels: Tensor
    """int64 (B,), of multi-label data (B, L) as `Batch` has them, on the device."""
    indices: Tensor
    """int64 (B,), positions in the split, on the CPU."""


def logits(model: ImageModel, images: Tensor) -> Tensor:
    """Return the logits (B, K)."""
    return model(images)


def probabilities(model: ImageModel, images: Tensor) -> Tensor:
    """Return the probabilities (B, K) in [0, 1], by softmax or sigmoid as the model was trained."""
    return model.probabilities(model(images))


def mirrored_probabilities(model: ImageModel, images: Tensor) -> Tensor:
    """Return the probabilities (B, K), averaged over each image and its mirror image."""
    return (probabilities(model, images) + probabilities(model, images.flip(3))) / 2


def mirrored_logits(model: ImageModel, images: Tensor) -> Tensor:
    """Return the logits (B, K) that stand for `mirrored_probabilities`."""
    shares = mirrored_probabilities(model, images)
    return shares.logit(eps=1e-7) if model.loss == "sigmoid" else shares.clamp(min=1e-30).log()


def pooled_features(model: ImageModel, images: Tensor) -> Tensor:
    """Return the representation before the head (B, C)."""
    return model.forward_head(model.forward_features(images), pre_logits=True)


def layer_features(name: str) -> Output:
    """Return what asks for an intermediate value, averaged over tokens or places, (B, C).

    `name` is one of `intermediate_names(model)`.
    """

    def features(model: ImageModel, images: Tensor) -> Tensor:
        value = capture(model, images, [name])[name]
        return value if value.ndim == 2 else model.as_tokens(value).mean(dim=1)

    return features


@torch.inference_mode()
def respond(model: ImageModel, images: Tensor, runtime: Runtime, output: Output = logits) -> Tensor:
    """Return what is asked of a model for one batch, float32, on the device.

    Args:
        model: any model of `create_model`, on the runtime's device, in evaluation mode.
        images: (B, 3, H, W) in [-1, 1], on any device.
        runtime: where to run, and in which precision.
        output: what is asked.
    """
    with runtime.autocast():
        values = output(model, runtime.place(images))
    return values.float()


class Forward:
    """A model run over all readable images of a split, once and in order.

    Iterating yields `Answers` batch by batch; `images_per_second` is known at the end.

    Args:
        model: any model of `create_model`, on the runtime's device; left in evaluation mode.
        images: the images, as stored.
        runtime: where to run, and in which precision.
        output: what is asked of the model.
        batch_size: images a step.
        on_progress: called with the share done, in [0, 1].
    """

    images_per_second: float | None = None
    """Speed of preparing, running and what was done with the answers.

    The first batch is left out where there are several."""

    def __init__(
        self,
        model: ImageModel,
        images: ImagesInOrder,
        runtime: Runtime,
        output: Output = logits,
        *,
        batch_size: int = BATCH_SIZE,
        on_progress: Callable[[float], None] | None = None,
    ) -> None:
        self.model = model
        self.images = images
        self.runtime = runtime
        self.output = output
        self.batch_size = batch_size
        self.on_progress = on_progress

    @torch.inference_mode()
    def __iter__(self) -> Iterator[Answers]:
        """Yield the answers.

        Raises:
            UsageError: there is no readable image.
        """
        self.model.eval()
        begun, seen, first = time.monotonic(), 0, 0
        for answers in self._of_all_ranks():
            yield answers
            seen += len(answers.labels)
            if not first and seen < len(self.images):
                self.runtime.synchronize()
                begun, first = time.monotonic(), seen
            if self.on_progress is not None:
                self.on_progress(min(1.0, seen / len(self.images)))
        if not seen:
            raise UsageError("there is no readable image to run the model on.")
        self.runtime.synchronize()
        self.images_per_second = (seen - first) / max(time.monotonic() - begun, 1e-9)

    def _of_own_batches(self) -> Iterator[Answers]:
        ranks = self.runtime.ranks
        for batch in self.images.evaluation_batches(self.batch_size, ranks):
            inputs = normalize(self.runtime.place(batch.images))
            values = respond(self.model, inputs, self.runtime, self.output)
            yield Answers(values, self.runtime.place(batch.labels), batch.indices)

    def _of_all_ranks(self) -> Iterator[Answers]:
        """Yield the answers of all batches in order, though each rank looks at its own alone.

        They are those of one process to the bit: the batches are the same.
        """
        ranks, own = self.runtime.ranks, self._of_own_batches()
        if ranks.world == 1:
            yield from own
            return
        following = next(own, None)
        for turn in range(-(-len(self.images) // (self.batch_size * ranks.world))):
            place = (turn * ranks.world + ranks.rank) * self.batch_size
            mine = None
            if following is not None and following.indices[0] < place + self.batch_size:
                mine = Answers(*(one.cpu() for one in following))
                following = next(own, None)  # a batch without readable images has no turn
            for answers in ranks.gather(mine):
                if answers is not None:
                    values, labels, indices = answers
                    yield Answers(self.runtime.place(values), self.runtime.place(labels), indices)
