"""A model in a file for another runtime: it answers, and can do nothing else."""

from collections.abc import Callable
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, NoReturn, Self

import torch
from torch import Tensor

from mlpmixer.errors import UsageError
from mlpmixer.models.interface import ImageModel, Intermediates
from mlpmixer.weights.exported.description import Description


class ExportedModel(ImageModel):
    """A model whose logits another runtime computes, on the CPU.

    May be called from several threads.

    Args:
        path: the file.
        description: what it says of itself.
        runtime: what computes, for a person to read.
        compute: maps images (B, 3, H, W), contiguous, on the CPU, of the description's input type,
            to logits (B, K) in float32.

    Raises:
        UsageError: on all that needs weights, layers or gradients.
    """

    def __init__(
        self,
        path: Path,
        description: Description,
        runtime: str,
        compute: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__()
        self.path = path
        self.description = description
        self.own_runtime = f"{runtime}, {description.precision}"
        self._compute = compute
        self.name = description.name
        self.class_names = description.class_names
        self.facts = description.facts
        self.loss = description.loss
        self.preprocessing = description.as_preprocessing()
        self.eval()

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [-1, 1] to logits (B, num_classes), float32.

        Raises ValueError where the images are not of `image_size`.
        """
        expected = (self.in_channels, *self.image_size)
        if images.shape[1:] != expected:
            raise ValueError(f"images of shape {tuple(images.shape)}: expected (B, *{expected})")
        values = images.detach().float()
        if self.description.input == "uint8":  # pixels come back as they were: exact
            values = ((values + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return self._compute(values.cpu().contiguous()).to(images.device)

    def forward_features(self, images: Tensor) -> Tensor:
        """Refuse: only logits leave the graph."""
        self._refuse("it gives no features")

    def forward_head(self, tokens: Tensor, pre_logits: bool = False) -> Tensor:
        """Refuse: only logits leave the graph."""
        self._refuse("it gives no features")

    def _intermediates(
        self, images: Tensor, wanted: Intermediates
    ) -> tuple[Tensor | None, list[Tensor]]:
        self._refuse("its layers cannot be looked into")

    def train(self, mode: bool = True) -> Self:
        """Refuse to train."""
        if mode:
            self._refuse("it cannot be trained")
        return super().train(False)

    def reset_classifier(self, num_classes: int) -> None:
        """Refuse: the head is part of the graph."""
        self._refuse("its head cannot be changed")

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Refuse: there is no backward pass."""
        self._refuse("it has no gradients")

    def resized(self, image_size: int | tuple[int, ...], **how: Any) -> ImageModel:
        """Refuse: the graph is for one image size."""
        self._refuse("it cannot be resized")

    def layer_groups(self) -> list[list[str]]:
        """Refuse: the layers have no names any more."""
        self._refuse("its layers cannot be told apart")

    def check_layers(self) -> None:
        """Refuse: layers and weights are inside the graph."""
        self._refuse("its layers and weights cannot be reached")

    def _refuse(self, reason: str) -> NoReturn:
        raise UsageError(
            f"{self.path} is an exported file, for predictions alone: {reason}. "
            f"Use the model that it was made from{self._origin}."
        )

    @property
    def _origin(self) -> str:
        return f" ({self.description.source})" if self.description.source else ""

    @cached_property
    def _digest(self) -> str:
        key = blake2b(digest_size=16)
        beside = (self.path.with_suffix(".bin"), self.path.with_name(f"{self.path.name}.data"))
        for file in (self.path, *beside):
            if file.exists():
                key.update(file.read_bytes())
        return key.hexdigest()

    @property
    def options(self) -> dict[str, Any]:
        """The options of the model that was exported, and a digest of the file."""
        return {**self.description.options, "exported": self._digest}

    @property
    def network(self) -> ImageModel:
        """The model itself."""
        return self

    @property
    def device(self) -> torch.device:
        """Where logits are computed."""
        return torch.device("cpu")

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return self.description.image_size

    @property
    def in_channels(self) -> int:
        """Colour channels of the input."""
        return self.description.in_channels

    @property
    def num_classes(self) -> int:
        """Number of logits."""
        return self.description.num_classes

    @property
    def num_features(self) -> int:
        """Width of the pooled representation, which stays inside."""
        return self.description.num_features

    @property
    def patch_grid(self) -> tuple[int, int] | None:
        """Rows and columns of the patches that the input is cut into; None where it is not cut."""
        return self.description.patch_grid
