"""The rivals of Mixer, built with timm, behind one interface.

ViT, BiT, NFNet and HaloNet as in the paper's tables 2 and 3 (https://arxiv.org/abs/2105.01601),
small versions of each for 8 to 64 pixels, and any other model of timm as "timm:NAME". All take
images in [-1, 1], start from fresh weights, and have a head that starts at zero, as Mixer's does.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from mlpmixer.errors import UsageError, unknown_name
from mlpmixer.models.checks import check_patches, check_probability
from mlpmixer.models.hollow import hollow_copy
from mlpmixer.models.timm_model import TimmModel

PREFIX = "timm:"
_WEIGHTS = (
    *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay"),
    *("pretrained_strict", "checkpoint_path", "cache_dir"),
)
"""Options by which timm would read a file or the network: model files of others may have them."""


@dataclass(frozen=True)
class ComparatorSpec:
    """How a comparator is built: by a family of `small_comparators` or by timm itself."""

    source: str
    """A key of `small_comparators.FAMILIES`, or "timm:" and a name of timm."""
    image_size: tuple[int, int]
    """Default height and width of the images in pixels."""
    num_classes: int
    """Default number of logits."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of timm's model."""


def _paper(timm_name: str, side: int, **options: Any) -> ComparatorSpec:
    return ComparatorSpec(PREFIX + timm_name, (side, side), 1000, options)


def _small(family: str, **options: Any) -> ComparatorSpec:
    return ComparatorSpec(family, (32, 32), 10, options)


COMPARATORS: dict[str, ComparatorSpec] = {
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
    "halonet": ComparatorSpec("halonet_h1", (256, 256), 1000),
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


def knows(name: str) -> bool:
    """Tell whether `name` is a comparator's, or asks for one of timm."""
    return name in COMPARATORS or name.startswith(PREFIX)


def create(
    name: str,
    *,
    image_size: tuple[int, int] | None,
    num_classes: int | None,
    **overrides: Any,
) -> TimmModel:
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
    for reading in _WEIGHTS:
        if reading in overrides:
            raise UsageError(f"{reading} is no option here: comparators start from fresh weights.")
    if overrides.get("in_chans", 3) != 3:
        raise UsageError(
            f"in_chans {overrides['in_chans']} is no option here: comparators take images of 3 "
            "channels. Mixers take others, by in_channels."
        )
    spec = COMPARATORS[name] if name in COMPARATORS else _spec_of_timm(name)
    size = image_size or spec.image_size
    classes = spec.num_classes if num_classes is None else num_classes
    options = {**spec.options, **_timm_options(overrides)}
    try:
        net = _build(spec.source, size, classes, options)
    except TypeError as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown is None:
            raise
        option = {"drop_path_rate": "stochastic_depth", "drop_rate": "dropout"}
        asked = option.get(unknown[1], unknown[1])
        raise UsageError(f"{name} has no option {asked!r}.") from error
    except UsageError:
        raise
    except (AssertionError, ValueError) as error:
        reason = str(error) or "the numbers do not fit each other"
        raise UsageError(f"{name} cannot be built with {overrides}: {reason}.") from error
    if not hasattr(net, "get_classifier"):
        raise UsageError(f"{name} is no image classifier.")
    model = TimmModel(
        net,
        name=name,
        image_size=size,
        num_classes=classes,
        overrides=_with_patch_size(overrides, spec, net),
        create=create,
    )
    if model.patch_size and not getattr(net.patch_embed, "dynamic_img_pad", False):
        check_patches(size, model.patch_size)  # timm would leave out the rest of the image
    if size != spec.image_size:
        _check_size(model, spec.image_size)
    return model


def _spec_of_timm(name: str) -> ComparatorSpec:
    import timm

    timm_name = name.removeprefix(PREFIX)
    if not timm.is_model(timm_name):
        raise unknown_name("timm model", timm_name, timm.list_models())
    try:
        config = timm.get_pretrained_cfg(timm_name)
    except RuntimeError as error:  # what stands behind the dot is unknown
        raise UsageError(f"{name}: {error}") from error
    if config is None:
        return ComparatorSpec(name, (224, 224), 1000)
    return ComparatorSpec(name, config.input_size[1:], config.num_classes)


def _timm_options(overrides: dict[str, Any]) -> dict[str, Any]:
    """Return the overrides in timm's words."""
    options = {key: value for key, value in overrides.items() if key != "head_bias"}
    for ours, theirs in (("dropout", "drop_rate"), ("stochastic_depth", "drop_path_rate")):
        if ours in options:
            check_probability(**{ours: options[ours]})
            options[theirs] = options.pop(ours)
    return options


def _with_patch_size(overrides: dict[str, Any], spec: ComparatorSpec, net: Any) -> dict[str, Any]:
    """Return the overrides with the patch size that a small ViT derived from its image size."""
    derived = spec.source == "vit" and "patch_size" not in overrides
    return {**overrides, "patch_size": net.patch_embed.patch_size[0]} if derived else overrides


def _build(
    source: str, image_size: tuple[int, int], num_classes: int, options: dict[str, Any]
) -> nn.Module:
    if not source.startswith(PREFIX):
        from mlpmixer.models.small_comparators import FAMILIES

        return FAMILIES[source](image_size, num_classes, **options)
    import timm

    timm_name = source.removeprefix(PREFIX)
    config = timm.get_pretrained_cfg(timm_name)
    if config is not None and config.fixed_input_size:
        options = {"img_size": image_size, **options}
    net: nn.Module = timm.create_model(timm_name, num_classes=num_classes, **options)
    return net


def _check_size(model: TimmModel, own_size: tuple[int, int]) -> None:
    """Raise UsageError where the network's layers do not take images of its size.

    Only a run shows it, of a copy without numbers.
    """
    height, width = model.image_size
    copy = hollow_copy(model, "meta").eval()
    try:
        with torch.no_grad():
            copy(torch.empty(1, 3, height, width, device="meta"))
    except NotImplementedError:
        return  # PyTorch: an operation asks for values, which the copy lacks; a real run will show
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0] or "its layers do not divide it"
        raise UsageError(
            f"image size {height}x{width} does not fit {model.name}: {reason}. "
            f"Its own is --image-size {own_size[0]} {own_size[1]}."
        ) from error
