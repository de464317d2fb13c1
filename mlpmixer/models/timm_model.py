"""A network of timm behind the interface of this package's models."""

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from mlpmixer.errors import UsageError
from mlpmixer.models.checks import height_and_width
from mlpmixer.models.interface import ImageModel, Intermediates
from mlpmixer.models.layers import check_images, chosen_blocks

_CONTAINERS = ("blocks", "stages", "layers")
"""What timm's networks call the list of their blocks or stages."""


class TimmModel(ImageModel):
    """A network of timm with the interface of this package's models.

    Args:
        net: timm's network.
        name: what `create` was called with.
        image_size: height and width of the input in pixels.
        num_classes: number of logits; 0 leaves the head out.
        overrides: the further arguments of `create`, kept so that the model can be built again.
        create: builds a comparator by name, for another image size.

    Its modules are those of `net`: "net.blocks.0.attn", "net.stages.2.blocks.0.conv1".
    """

    grad_checkpointing = False

    def __init__(
        self,
        net: nn.Module,
        *,
        name: str,
        image_size: tuple[int, int],
        num_classes: int,
        overrides: dict[str, Any],
        create: Callable[..., "TimmModel"],
    ) -> None:
        super().__init__()
        self.net: Any = net  # timm's classes have no common type
        self.name = name
        self._image_size = image_size
        self._num_classes = num_classes
        self._overrides = overrides
        self._create = create
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

    @property
    def patch_size(self) -> tuple[int, int] | None:
        """Height and width of the patches in pixels; None where there are none, or they overlap."""
        cut = getattr(getattr(self.net, "patch_embed", None), "proj", None)
        if not isinstance(cut, nn.Conv2d) or cut.kernel_size != cut.stride:
            return None
        return cut.stride[0], cut.stride[1]

    @property
    def patch_grid(self) -> tuple[int, int] | None:
        """Rows and columns of the patches of a ViT; None for networks without patches."""
        if self.patch_size is None:
            return None
        return self.image_size[0] // self.patch_size[0], self.image_size[1] // self.patch_size[1]

    @property
    def block_names(self) -> tuple[str, ...]:
        """The names of the blocks or stages, in order; empty where timm's network does not say."""
        container = next((name for name in _CONTAINERS if hasattr(self.net, name)), None)
        if container is not None:
            names = [f"{container}.{i}" for i in range(len(getattr(self.net, container)))]
        else:
            names = [entry["module"] for entry in getattr(self.net, "feature_info", ())]
        modules = dict(self.net.named_modules())
        run = [name for name in names if not isinstance(modules.get(name), nn.ModuleList | None)]
        return tuple(f"net.{name}" for name in run)

    def forward_features(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [-1, 1] to tokens (B, S, C) or a map (B, C, h, w).

        Raises ValueError where the images are not of `image_size`.
        """
        check_images(images, self.in_channels, self.image_size)
        features: Tensor = self.net.forward_features(images)
        return features

    def forward_head(self, tokens: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool what `forward_features` returns to (B, C); unless `pre_logits`, map it to logits."""
        output: Tensor = self.net.forward_head(tokens, pre_logits=pre_logits)
        return output

    def as_tokens(self, values: Tensor) -> Tensor:
        """Return what a block put out, a map or tokens (B, S, C), as tokens.

        Some of timm's networks have maps of the form (B, h, w, C), the others (B, C, h, w).
        """
        if values.ndim == 4 and getattr(self.net, "output_fmt", "NCHW") == "NHWC":
            return values.flatten(1, 2)
        return super().as_tokens(values)

    def _intermediates(
        self, images: Tensor, wanted: Intermediates
    ) -> tuple[Tensor | None, list[Tensor]]:
        check_images(images, self.in_channels, self.image_size)
        found = self.net.forward_intermediates(
            images,
            indices=chosen_blocks(wanted.indices, len(self.net.feature_info)),
            norm=wanted.norm,
            stop_early=wanted.stop_early,
            intermediates_only=not wanted.final,
        )
        return found if wanted.final else (None, found)

    def head_layers(self) -> list[nn.Linear | nn.Conv2d]:
        """Return the layers whose output is the logits; distilled networks have two."""
        head = self.net.get_classifier()
        heads = head if isinstance(head, tuple) else (head,)
        return [layer for layer in heads if isinstance(layer, nn.Linear | nn.Conv2d)]

    def reset_classifier(self, num_classes: int) -> None:
        """Put a fresh zero head for `num_classes` classes in place; 0 leaves the head out."""
        self.net.reset_classifier(num_classes)
        self._num_classes = num_classes
        self._zero_head()
        self.forget_classes()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute blocks in the backward pass instead of keeping their activations."""
        self.net.set_grad_checkpointing(enable)
        self.grad_checkpointing = enable

    def layer_groups(self) -> list[list[str]]:
        """Return the parameters' names by stem, block and head, as timm groups them."""
        from timm.models import group_parameters

        if not hasattr(self.net, "group_matcher"):
            raise UsageError(f"{self.name} does not tell which blocks it consists of.")
        found = group_parameters(self.net, self.net.group_matcher(coarse=False))
        groups = [[f"net.{name}" for name in found[number]] for number in sorted(found)]
        return groups if self.num_classes else [*groups, []]

    def residual_ends(self) -> list[nn.Linear]:
        """Return what ends the attention and the MLP of each of a ViT's blocks."""
        from timm.models.vision_transformer import Block

        blocks = (one for one in self.net.modules() if isinstance(one, Block))
        return [end for block in blocks for end in (block.attn.proj, block.mlp.fc2)]

    def resized(self, image_size: int | tuple[int, ...], **how: Any) -> "TimmModel":
        """Return a model for another image size; position embeddings are resampled by timm.

        Raises UsageError where another weight has another shape at that size.
        """
        if how:
            raise UsageError(f"{self.name} is no Mixer: it takes no {' and no '.join(how)}.")
        height, width = size = height_and_width(image_size)
        resized = self._create(
            self.name, image_size=size, num_classes=self.num_classes, **self._overrides
        )
        net = copy.deepcopy(self.net)
        if hasattr(net, "set_input_size"):
            net.set_input_size(img_size=size)
        weights = net.state_dict()
        for name, tensor in resized.net.state_dict().items():
            if tensor.shape != weights[name].shape:
                raise UsageError(
                    f"{self.name} cannot be resized to {height}x{width}: its {name} has another "
                    "shape there. Leave --image-size out."
                )
        resized.net.load_state_dict(weights, assign=True)
        if self.grad_checkpointing:
            resized.set_grad_checkpointing()
        return resized.to(self.device).training_like(self).taking_over(self)

    def _zero_head(self) -> None:
        for layer in self.head_layers():
            nn.init.zeros_(layer.weight)
            if layer.bias is not None:
                nn.init.constant_(layer.bias, self._overrides.get("head_bias", 0.0))
