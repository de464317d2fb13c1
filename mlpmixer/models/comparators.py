"""The rivals of Mixer, built with timm, behind one interface.

ViT, BiT, NFNet and HaloNet as in the paper's tables 2 and 3 (https://arxiv.org/abs/2105.01601),
small versions of each for 8 to 64 pixels, and any other model of timm as "timm:NAME". All take
images in [-1, 1], start from fresh weights, and have a head that starts at zero, as Mixer's does.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mlpmixer.errors import UsageError, unknown_name
from mlpmixer.models.fake import fake_copy

PREFIX = "timm:"


@dataclass(frozen=True)
class Recipe:
    """How a comparator is built: by a family of `small_comparators` or by timm itself."""

    source: str
    """A key of `small_comparators.FAMILIES`, or "timm:" and a name of timm."""
    image_size: int
    """Default side of the images in pixels."""
    num_classes: int
    """Default number of logits."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of timm's model."""


def _paper(timm_name: str, image_size: int, **options: Any) -> Recipe:
    return Recipe(PREFIX + timm_name, image_size, 1000, options)


def _small(family: str, **options: Any) -> Recipe:
    return Recipe(family, 32, 10, options)


COMPARATORS: dict[str, Recipe] = {
    "vit_b16": _paper("vit_base_patch16_224", 224, weight_init="jax"),
    "vit_l16": _paper("vit_large_patch16_224", 224, weight_init="jax"),
    "bit_r50x1": _paper("resnetv2_50x1_bit", 224),
    "bit_r152x4": _paper("resnetv2_152x4_bit", 224),
    # DeepMind's own networks; timm's "nfnet_f0" and so on differ from them in detail.
    "nfnet_f0": _paper("dm_nfnet_f0", 192),
    "nfnet_f1": _paper("dm_nfnet_f1", 224),
    "nfnet_f2": _paper("dm_nfnet_f2", 256),
    "nfnet_f3": _paper("dm_nfnet_f3", 320),
    "nfnet_f4": _paper("dm_nfnet_f4", 384),
    # The paper's HaloNet-H4 is not in timm. H1 is: the same family, as published (8.1 M
    # parameters, 3.0 GMACs); timm's other HaloNets are ResNets with some attention.
    "halonet": Recipe("halonet_h1", 256, 1000),
    "vit_nano": _small("vit", embed_dim=128, depth=6, num_heads=4),
    "vit_micro": _small("vit", embed_dim=192, depth=6, num_heads=6),
    "vit_mini": _small("vit", embed_dim=256, depth=8, num_heads=8),
    "bit_nano": _small("bit", layers=(1, 2, 3), channels=(32, 64, 144), stem_chs=32),
    "bit_micro": _small("bit", layers=(1, 2, 3), channels=(48, 96, 208), stem_chs=48),
    "bit_mini": _small("bit", layers=(2, 2, 5), channels=(64, 128, 256), stem_chs=64),
    "nfnet_nano": _small("nfnet", depths=(1, 2, 2), channels=(64, 128, 256)),
    "nfnet_micro": _small("nfnet", depths=(1, 2, 5), channels=(64, 128, 256)),
    "nfnet_mini": _small("nfnet", depths=(1, 2, 6), channels=(96, 192, 384)),
    "halonet_nano": _small("halonet", depths=(1, 2, 5), channels=(64, 128, 192)),
    "halonet_micro": _small("halonet", depths=(1, 3, 7), channels=(64, 128, 256)),
    "halonet_mini": _small("halonet", depths=(1, 3, 8), channels=(96, 192, 384)),
}


class Comparator(nn.Module):
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
        self.image_size = image_size
        self.num_classes = num_classes
        self.overrides = overrides
        self._zero_head()

    @property
    def options(self) -> dict[str, Any]:
        """What `create_model(self.name, **self.options)` needs to build this model again."""
        return {
            **self.overrides,
            "image_size": self.image_size,
            "num_classes": self.num_classes,
        }

    @property
    def num_features(self) -> int:
        """Width C of the pooled representation."""
        return int(getattr(self.net, "head_hidden_size", self.net.num_features))

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [-1, 1] to logits (B, num_classes)."""
        return self.forward_head(self.forward_features(images))

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
        outputs = self.net.forward_intermediates(
            images,
            indices=[range(count)[i] for i in indices],
            norm=norm,
            stop_early=stop_early,
            intermediates_only=intermediates_only,
        )
        final, picked = (None, outputs) if intermediates_only else outputs
        if output_fmt == "NLC":
            picked = [map_.flatten(2).transpose(1, 2) for map_ in picked]  # (B, h·w, C)
        return picked if intermediates_only else (final, picked)

    def reset_classifier(self, num_classes: int) -> None:
        """Put a fresh zero head for `num_classes` classes in place; 0 leaves the head out."""
        self.net.reset_classifier(num_classes)
        self.num_classes = num_classes
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
                nn.init.constant_(layer.bias, self.overrides.get("head_bias", 0.0))


def knows(name: str) -> bool:
    """Tell whether `name` is a comparator's, or asks for one of timm."""
    return name in COMPARATORS or name.startswith(PREFIX)


def create(
    name: str,
    *,
    image_size: tuple[int, int] | None,
    num_classes: int | None,
    **overrides: Any,
) -> nn.Module:
    """Build a freshly initialised comparator.

    Args:
        name: a key of `COMPARATORS`, or "timm:NAME".
        image_size: height and width in pixels; None takes the model's own.
        num_classes: number of logits; None takes the model's own, 0 leaves the head out.
        overrides: `dropout` (before the head) and `stochastic_depth`, probabilities in [0, 1);
            `head_bias`, the head's initial bias; all else goes to timm's model as it is.

    Raises:
        UsageError: the name or an option is unknown, or the image size does not fit.
    """
    if "pretrained" in overrides:
        raise UsageError("pretrained is no option here: comparators start from fresh weights.")
    recipe = COMPARATORS[name] if name in COMPARATORS else _recipe_of_timm(name)
    own_size = (recipe.image_size, recipe.image_size)
    size = image_size or own_size
    classes = recipe.num_classes if num_classes is None else num_classes
    options = {**recipe.options, **_timm_options(overrides)}
    try:
        net = _build(recipe.source, size, classes, options)
    except TypeError as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown is None:
            raise
        option = {"drop_path_rate": "stochastic_depth", "drop_rate": "dropout"}
        asked = option.get(unknown[1], unknown[1])
        raise UsageError(f"{name} has no option {asked!r}.") from error
    except AssertionError as error:
        raise UsageError(f"{name} cannot be built with {options}: {error}") from error
    model = Comparator(
        net, name=name, image_size=size, num_classes=classes, overrides=dict(overrides)
    )
    if size != own_size:
        _check_size(model, own_size)
    return model


def _recipe_of_timm(name: str) -> Recipe:
    import mlpmixer._torchvision  # noqa: F401, I001
    import timm

    timm_name = name.removeprefix(PREFIX)
    if not timm.is_model(timm_name):
        raise unknown_name("timm model", timm_name, timm.list_models())
    config = timm.get_pretrained_cfg(timm_name)
    if config is None:
        return Recipe(name, 224, 1000)
    return Recipe(name, config.input_size[-1], config.num_classes)


def _timm_options(overrides: dict[str, Any]) -> dict[str, Any]:
    """Return the overrides in timm's words."""
    options = {key: value for key, value in overrides.items() if key != "head_bias"}
    for ours, theirs in (("dropout", "drop_rate"), ("stochastic_depth", "drop_path_rate")):
        if ours in options:
            if not 0 <= options[ours] < 1:
                raise UsageError(f"{ours} {options[ours]} is outside [0, 1).")
            options[theirs] = options.pop(ours)
    return options


def _build(
    source: str, image_size: tuple[int, int], num_classes: int, options: dict[str, Any]
) -> nn.Module:
    if not source.startswith(PREFIX):
        from mlpmixer.models.small_comparators import FAMILIES

        return FAMILIES[source](image_size, num_classes, **options)
    import mlpmixer._torchvision  # noqa: F401, I001
    import timm

    timm_name = source.removeprefix(PREFIX)
    config = timm.get_pretrained_cfg(timm_name)
    if config is not None and config.fixed_input_size:
        options = {"img_size": image_size, **options}
    net: nn.Module = timm.create_model(timm_name, num_classes=num_classes, **options)
    return net


def _check_size(model: Comparator, own_size: tuple[int, int]) -> None:
    """Raise UsageError where the network does not take images of its size, at no real cost."""
    (height, width), reason = model.image_size, ""
    patch = getattr(getattr(model.net, "patch_embed", None), "patch_size", None)
    if isinstance(patch, tuple) and (height % patch[0] or width % patch[1]):
        reason = f"it cannot be cut into patches of {patch[0]}x{patch[1]} pixels"
    else:
        mode = FakeTensorMode()
        net = fake_copy(model, mode).eval()
        try:
            with mode, torch.no_grad():
                net(torch.empty(1, 3, height, width, device="cpu"))
        except NotImplementedError:
            return  # needs values, not only shapes: it shows when the model first runs
        except (AssertionError, RuntimeError, ValueError) as error:
            reason = str(error).partition("\n")[0] or "its layers do not divide it"
    if reason:
        raise UsageError(
            f"image size {height}x{width} does not fit {model.name}: {reason}. "
            f"Its own is --image-size {own_size[0]}."
        )


def _head_layers(net: Any) -> Iterator[nn.Linear | nn.Conv2d]:
    """Yield the layer that gives the logits; distilled networks have two."""
    head = net.get_classifier()
    for layer in head if isinstance(head, tuple) else (head,):
        if isinstance(layer, nn.Linear | nn.Conv2d):
            yield layer
