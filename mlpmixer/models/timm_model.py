"""A network of timm behind the interface of this package's models."""

from collections.abc import Iterator
from typing import Any, Literal

from torch import Tensor, nn

from mlpmixer.models.interface import ImageModel


class Comparator(ImageModel):
    """A network of timm with the interface of this package's models.

    Args:
        net: timm's network.
        name: what `create` was called with.
        image_size: height and width of the input in pixels.
        num_classes: number of logits; 0 leaves the head out.
        overrides: the further arguments of `create`, kept so that the model can be built again.

    Its modules are those of `net`: "net.blocks.0.attn", "net.stages.2.blocks.0.conv1".
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        name: str,
        image_size: tuple[int, int],
        num_classes: int,
        overrides: dict[str, Any],
    ) -> None:
        super().__init__()
        self.net: Any = net  # timm's classes have no common type
        self.name = name
        self._image_size = image_size
        self._num_classes = num_classes
        self._overrides = overrides
        self._zero_head()

    @property
    def options(self) -> dict[str, Any]:
        """What `create_model(self.name, **self.options)` needs to build this model again."""
        return {
            **self._overrides,
            "image_size": self.image_size,
            "num_classes": self.num_classes,
        }

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return self._image_size

    @property
    def num_classes(self) -> int:
        """Number of logits."""
        return self._num_classes

    @property
    def num_features(self) -> int:
        """Width C of the pooled representation."""
        return int(getattr(self.net, "head_hidden_size", self.net.num_features))

    def forward_features(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [-1, 1] to tokens (B, S, C) or a map (B, C, h, w).

        Raises ValueError where the images are not of `image_size`.
        """
        self._check(images)
        features: Tensor = self.net.forward_features(images)
        return features

    def forward_head(self, tokens: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool what `forward_features` returns to (B, C); unless `pre_logits`, map it to logits."""
        output: Tensor = self.net.forward_head(tokens, pre_logits=pre_logits)
        return output

    def forward_intermediates(
        self,
        images: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: Literal["NCHW", "NLC"] = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return what chosen blocks (of a convolutional network: stages) put out.

        Args:
            images: (B, 3, H, W) in [-1, 1].
            indices: the blocks or stages; an integer n means the last n, None all of them.
            norm: apply the final normalisation, where there is one.
            stop_early: leave out what is behind the last chosen one.
            output_fmt: (B, C, h, w) or tokens (B, S, C).
            intermediates_only: return the list alone, not (final features, list).
        """
        self._check(images)
        count = len(self.net.feature_info)
        if indices is None or isinstance(indices, int):
            indices = list(range(count - (count if indices is None else indices), count))
        chosen = [range(count)[i] for i in indices]
        outputs = self.net.forward_intermediates(
            images,
            indices=chosen,
            norm=norm,
            stop_early=stop_early,
            intermediates_only=intermediates_only,
        )
        picked: list[Tensor] = outputs if intermediates_only else outputs[1]
        if output_fmt == "NLC":
            picked = [one.flatten(2).transpose(1, 2) for one in picked]  # (B, h·w, C)
        return picked if intermediates_only else (outputs[0], picked)

    def reset_classifier(self, num_classes: int) -> None:
        """Put a fresh zero head for `num_classes` classes in place; 0 leaves the head out."""
        self.net.reset_classifier(num_classes)
        self._num_classes = num_classes
        self._zero_head()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute blocks in the backward pass instead of keeping their activations."""
        self.net.set_grad_checkpointing(enable)

    def _check(self, images: Tensor) -> None:
        if images.shape[1:] != (3, *self.image_size):
            expected = (3, *self.image_size)
            raise ValueError(f"images of shape {tuple(images.shape)}: expected (B, *{expected})")

    def _zero_head(self) -> None:
        for layer in _head_layers(self.net):
            nn.init.zeros_(layer.weight)
            if layer.bias is not None:
                nn.init.constant_(layer.bias, self._overrides.get("head_bias", 0.0))


def _head_layers(net: Any) -> Iterator[nn.Linear | nn.Conv2d]:
    """Yield the layer that gives the logits; distilled networks have two."""
    head = net.get_classifier()
    for layer in head if isinstance(head, tuple) else (head,):
        if isinstance(layer, nn.Linear | nn.Conv2d):
            yield layer
