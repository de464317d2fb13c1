"""A model around another one: it changes one thing, and is the other in everything else."""

from typing import Any

from torch import Tensor, nn

from mlpmixer.models.interface import ImageModel, Intermediates, TokenMlp


class WrappedModel(ImageModel):
    """Asks the model inside for everything; a subclass says what is different."""

    def __init__(self, model: ImageModel) -> None:
        super().__init__()
        self.model = model
        self.name = model.name

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
        """Rows and columns of the patches that the network's input is cut into."""
        return self.model.patch_grid

    @property
    def block_names(self) -> tuple[str, ...]:
        """The model's blocks, by their names here."""
        return tuple(f"model.{name}" for name in self.model.block_names)

    @property
    def network(self) -> ImageModel:
        """The network itself, behind all that is around it."""
        return self.model.network

    def layer_groups(self) -> list[list[str]]:
        """Return the model's groups, by the names of the parameters here."""
        return [[f"model.{name}" for name in group] for group in self.model.layer_groups()]

    def token_mlps(self) -> list[TokenMlp]:
        """Return the parameters of each block's MLP across tokens."""
        return self.model.token_mlps()

    def residual_ends(self) -> list[nn.Linear]:
        """Return the layer that ends each of the network's residual branches."""
        return self.model.residual_ends()

    def seen(self, images: Tensor) -> Tensor:
        """Return images as the network's first layer gets them."""
        return self.model.seen(images)

    def forward_features(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to the last layer's values."""
        return self.model.forward_features(images)

    def forward_head(self, tokens: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool the last layer's values and, unless `pre_logits`, map them to logits."""
        return self.model.forward_head(tokens, pre_logits)

    def as_tokens(self, values: Tensor) -> Tensor:
        """Return what a block put out as tokens (B, S, C)."""
        return self.model.as_tokens(values)

    def logits_after(self, values: Tensor) -> Tensor | None:
        """Return the logits (B, K) that a block's values lead to; None where no head fits."""
        return self.model.logits_after(values)

    def head_layers(self) -> list[nn.Linear | nn.Conv2d]:
        """Return the layers whose output is the logits."""
        return self.model.head_layers()

    def reset_classifier(self, num_classes: int) -> None:
        """Put a fresh head in place; 0 classes leave it out."""
        self.model.reset_classifier(num_classes)
        self.forget_classes()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep less memory for the backward pass and compute more."""
        self.model.set_grad_checkpointing(enable)

    def _intermediates(
        self, images: Tensor, wanted: Intermediates
    ) -> tuple[Tensor | None, list[Tensor]]:
        return self.model._intermediates(images, wanted)
