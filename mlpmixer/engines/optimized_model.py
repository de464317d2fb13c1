"""A model whose outputs an engine computes; in all else it is the model that it was made from."""

from typing import Any, Self

import torch
from torch import Tensor

from mlpmixer.engines.engine import Engine
from mlpmixer.errors import UsageError
from mlpmixer.models.interface import ImageModel, Intermediates, TokenMlp


class OptimizedModel(ImageModel):
    """A model for inference.

    `forward` and `forward_features` are computed by the engine and have no gradients; everything
    else is asked of the model, which stays as it is. Weights that are changed afterwards are not
    seen by the engine.

    Raises:
        UsageError: on `train()`, `reset_classifier` and `set_grad_checkpointing`.
    """

    def __init__(self, model: ImageModel, engine: Engine) -> None:
        super().__init__()
        self.model = model
        self.engine = engine
        self.name = model.name
        self.taking_over(model.eval())

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [-1, 1] to logits (B, num_classes), float32."""
        return self.engine.logits(images)

    @torch.inference_mode()
    def forward_features(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [-1, 1] to the last layer's values, float32."""
        return self.engine.features(images)

    def forward_head(self, tokens: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool the last layer's values and, unless `pre_logits`, map them to logits."""
        return self.model.forward_head(tokens, pre_logits)

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

    @property
    def options(self) -> dict[str, Any]:
        """What `create_model(self.name, **self.options)` needs to build the model again."""
        return self.model.options

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return self.model.image_size

    @property
    def in_channels(self) -> int:
        """Colour channels of the input."""
        return self.model.in_channels

    @property
    def num_classes(self) -> int:
        """Number of logits."""
        return self.model.num_classes

    @property
    def num_features(self) -> int:
        """Width of the pooled representation."""
        return self.model.num_features

    @property
    def patch_grid(self) -> tuple[int, int] | None:
        """Rows and columns of the patches."""
        return self.model.patch_grid

    @property
    def network(self) -> ImageModel:
        """The network itself, not optimized: its blocks can be looked into."""
        return self.model.network

    def seen(self, images: Tensor) -> Tensor:
        """Return images as the network's first layer gets them."""
        return self.model.seen(images)

    @property
    def block_names(self) -> tuple[str, ...]:
        """The model's blocks, by their names here."""
        return tuple(f"model.{name}" for name in self.model.block_names)

    def layer_groups(self) -> list[list[str]]:
        """Return the names of all parameters in groups."""
        return [[f"model.{name}" for name in group] for group in self.model.layer_groups()]

    def token_mlps(self) -> list[TokenMlp]:
        """Return the parameters of each block's MLP across tokens."""
        return self.model.token_mlps()

    def as_tokens(self, values: Tensor) -> Tensor:
        """Return what a block put out as tokens."""
        return self.model.as_tokens(values)

    def logits_after(self, values: Tensor) -> Tensor | None:
        """Return the logits that the head gives what a block put out."""
        return self.model.logits_after(values)

    def _intermediates(
        self, images: Tensor, wanted: Intermediates
    ) -> tuple[Tensor | None, list[Tensor]]:
        return self.model._intermediates(images, wanted)
