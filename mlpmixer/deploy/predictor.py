"""A loaded model that names what is in pictures."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from mlpmixer.data.augment import normalize
from mlpmixer.data.picture import (
    UnreadableImage,
    evaluation_crop,
    explained,
    from_bytes,
    from_picture,
    least_side,
)
from mlpmixer.engines.engine import EngineName
from mlpmixer.engines.optimize import optimize
from mlpmixer.errors import UsageError
from mlpmixer.evaluation.forward import mirrored_probabilities, probabilities, respond
from mlpmixer.formatting import printable
from mlpmixer.kernels.native import Precision
from mlpmixer.models.interface import ImageModel
from mlpmixer.runtime import Runtime
from mlpmixer.weights.checkpoint import load

BATCH_SIZE = 16

Picture = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[np.uint8]
"""What a predictor looks at: a file's path or bytes, a Pillow image, pixels (H, W, 3)."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class for a picture."""

    label: str
    """The name of the class; its number where the model has no names."""
    index: int
    """The number of the class, from 0."""
    probability: float
    """In [0, 1]."""


class Predictor:
    """A model for inference, with all that lies between a picture and a name.

    May be called from several threads.

    Args:
        model: any model; it is put into evaluation mode.
        runtime: where to run; None takes what the machine has.
        precision: of the matrix products; see `mlpmixer.optimize`.
        engine: what computes; see `mlpmixer.optimize`.
        flip: average the probabilities over each picture and its mirror image.

    Raises:
        UsageError: the model has no head, or there is no such precision or engine.
        MixerError: the engine cannot compute this model here.
    """

    def __init__(
        self,
        model: ImageModel,
        runtime: Runtime | None = None,
        *,
        precision: Precision = "float32",
        engine: Literal["auto"] | EngineName = "auto",
        flip: bool = False,
    ) -> None:
        if not model.num_classes:
            raise UsageError(f"{model.name} has no head, so it predicts no classes.")
        self.runtime = runtime or Runtime.choose()
        self.model = optimize(model.to(self.runtime.device), precision, engine)
        self.flip = flip

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        class_names: Sequence[str] | str | Path | None = None,
        device: str = "auto",
        precision: Precision = "float32",
        engine: Literal["auto"] | EngineName = "auto",
        flip: bool = False,
    ) -> Self:
        """Return the predictor of a run directory, a model file, or "hf-hub:user/name".

        Args:
            source: what `mlpmixer.load` reads.
            class_names: names of the classes, or a file of them, in place of the model's own.
            device: auto, cpu, cuda or cuda:N.
            precision: float32, bfloat16 or int8.
            engine: auto, or the name of one.
            flip: average over each picture and its mirror image.

        Raises:
            UsageError: there is no such model, or the machine lacks what is asked for.
            MixerError: the model is damaged.
        """
        model = load(source, class_names=class_names)
        # The engine multiplies in the precision: everything around it stays in float32.
        runtime = Runtime.choose(device, "float32")
        return cls(model, runtime, precision=precision, engine=engine, flip=flip)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class, or its number where the model has no names."""
        return self.model.class_names or tuple(map(str, range(self.model.num_classes)))

    def prepare(self, picture: Picture, name: str | None = None) -> Tensor:
        """Return what the model sees of a picture, uint8 (3, H, W).

        Args:
            picture: see `Picture`.
            name: what messages call it; None takes the path.

        Raises UnreadableImage.
        """
        preprocessing = self.model.preprocessing
        side = least_side(preprocessing)
        if isinstance(picture, str | os.PathLike):
            name = name or printable(os.fspath(picture))
            with explained(name):
                picture = Path(picture).read_bytes()
        name = name or "the image"
        if isinstance(picture, bytes):
            upright = from_bytes(
                picture, name, at_least=side, sixteen_bit=preprocessing.sixteen_bit
            )
        else:
            if isinstance(picture, np.ndarray):
                picture = _from_array(picture, name)
            upright = from_picture(
                picture, name, at_least=side, sixteen_bit=preprocessing.sixteen_bit
            )
        return evaluation_crop(upright, preprocessing)

    def probabilities(self, pixels: Tensor) -> Tensor:
        """Map what `prepare` returns, stacked, uint8 (B, 3, H, W), to probabilities (B, K).

        In [0, 1], on the CPU; by softmax or sigmoid, as the model was trained.
        """
        images = normalize(self.runtime.place(pixels))
        output = mirrored_probabilities if self.flip else probabilities
        return respond(self.model, images, self.runtime, output).cpu()

    def best(self, probabilities: Tensor, k: int = 5) -> list[list[Prediction]]:
        """Return the `k` most probable classes of each row (B, K), the most probable first.

        Of equal ones the first class comes first.

        Raises:
            UsageError: there are fewer classes than `k`, or none is asked for.
        """
        self.check_k(k)
        names = self.class_names
        found = []
        for row in probabilities.numpy():
            least = np.partition(row, -k)[-k]
            candidates = np.flatnonzero(~(row < least))  # in this form NaN does not get lost
            order = candidates[np.argsort(-row[candidates], kind="stable")[:k]]
            best = zip(order.tolist(), row[order].tolist(), strict=True)
            found.append([Prediction(names[i], i, p) for i, p in best])
        return found

    def check_k(self, k: int) -> None:
        """Raise UsageError where the model has fewer classes than `k`, or `k` is below 1."""
        if not 1 <= k <= self.model.num_classes:
            raise UsageError(
                f"the {k} most probable classes were asked for: the model has "
                f"{self.model.num_classes}, give 1 to {self.model.num_classes}."
            )

    def __call__(self, pictures: Sequence[Picture], k: int | None = None) -> list[list[Prediction]]:
        """Return the most probable classes of each picture, the most probable first.

        Args:
            pictures: paths, encoded bytes, Pillow images or pixels (H, W, 3), mixed as you like.
            k: how many classes; None takes 5, or all where there are fewer.

        Raises:
            UnreadableImage: one cannot be read.
            UsageError: there are fewer classes than `k`.
        """
        if isinstance(pictures, str | bytes | os.PathLike):
            raise UsageError("give a list of pictures, as in predictor([picture]).")
        k = min(5, self.model.num_classes) if k is None else k
        self.check_k(k)
        found: list[list[Prediction]] = []
        for begin in range(0, len(pictures), BATCH_SIZE):
            batch = torch.stack([self.prepare(one) for one in pictures[begin : begin + BATCH_SIZE]])
            found += self.best(self.probabilities(batch), k)
        return found


def _from_array(pixels: npt.NDArray[np.uint8], name: str) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise UnreadableImage(
            name, f"pixels are uint8 (H, W, 3), not {pixels.dtype} {pixels.shape}"
        )
    return Image.fromarray(pixels)
