"""What every model offers, whatever its family."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


class ImageModel(nn.Module):
    """An image classifier under timm's conventions. Images are (B, 3, H, W) in [-1, 1].

    Attributes:
        name: what `create_model` knows it by.
        class_names: the name of each logit, where the model was loaded with them.
        facts: what was saved beside the weights.
    """

    name: str
    class_names: tuple[str, ...] | None = None
    facts: Mapping[str, Any] = {}  # never written to

    @property
    @abstractmethod
    def options(self) -> dict[str, Any]:
        """What `create_model(self.name, **self.options)` needs to build this model again."""

    @property
    @abstractmethod
    def image_size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """Number of logits."""

    @property
    @abstractmethod
    def num_features(self) -> int:
        """Width of the pooled representation."""

    @abstractmethod
    def forward_features(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to the last layer's values, before pooling."""

    @abstractmethod
    def forward_head(self, tokens: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool the last layer's values and, unless `pre_logits`, map them to logits."""

    @abstractmethod
    def reset_classifier(self, num_classes: int) -> None:
        """Put a fresh head in place; 0 classes leave it out."""

    @abstractmethod
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep less memory for the backward pass and compute more."""

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to logits (B, num_classes)."""
        return self.forward_head(self.forward_features(images))
