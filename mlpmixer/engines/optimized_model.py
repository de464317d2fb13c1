"""A model whose outputs an engine computes; in all else it is the model that it was made from."""

from typing import Any, Self

import torch
from torch import Tensor

from mlpmixer.engines.engine import Engine
from mlpmixer.errors import UsageError
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.wrapped import WrappedModel


class OptimizedModel(WrappedModel):
    """A model for inference.

    `forward` and `forward_features` are computed by the engine and have no gradients; everything
    else is asked of the model, which stays as it is. Weights that are changed afterwards are seen
    by the eager engine alone.

    Raises:
        UsageError: on `train()`, `reset_classifier` and `set_grad_checkpointing`.
    """

    def __init__(self, model: ImageModel, engine: Engine) -> None:
        super().__init__(model)
        self.engine = engine
        self.taking_over(model.eval())

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [-1, 1] to logits (B, num_classes), float32."""
        return self.engine.logits(images)

    @torch.inference_mode()
    def forward_features(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [-1, 1] to the last layer's values, float32."""
        return self.engine.features(images)

    @property
    def unoptimized(self) -> ImageModel:
        """The model that this one was made from."""
        return self.model.unoptimized

    def train(self, mode: bool = True) -> Self:
        """Refuse to train."""
        if mode:
            raise UsageError("an optimized model is for inference: train the one it came from.")
        return super().train(False)

    def reset_classifier(self, num_classes: int) -> None:
        """Refuse: the engine has packed the head."""
        raise UsageError("an optimized model keeps its head: change the model it came from.")

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Refuse: there is no backward pass."""
        raise UsageError("an optimized model has no gradients.")

    def for_kernels(self) -> Any:
        """Return what the model's own kernels need."""
        return self.model.for_kernels()

    def resized(self, image_size: int | tuple[int, ...], **how: Any) -> ImageModel:
        """Return the model for another image size, not optimized."""
        return self.model.resized(image_size, **how)
