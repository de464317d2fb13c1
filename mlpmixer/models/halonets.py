"""HaloNets (https://arxiv.org/abs/2103.12731): attention within blocks of a map and their halo.

The side of the blocks has to divide every map, so it is chosen by the image size.
"""

from math import gcd
from typing import Any

# isort: split
import timm
from timm.layers import ConvNormAct
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg
from torch import nn

from mlpmixer.errors import UsageError
from mlpmixer.models.checks import fitting_size

HEAD_WIDTH = 32
"""Channels of an attention head in the small models."""


def build_h1(image_size: tuple[int, int], num_classes: int, **options: Any) -> nn.Module:
    """Build HaloNet-H1 as published, with blocks of about 8 pixels a side and a halo of 3.

    Raises UsageError where the image size is no multiple of 32 with blocks of 2 to 16 pixels.
    """
    side = block_side(image_size, reduction=32, deepest=32, preferred=8)
    attention = {"block_size": side, "halo_size": 3}
    net: nn.Module = timm.create_model(
        "halonet_h1", num_classes=num_classes, **{"self_attn_kwargs": attention, **options}
    )
    return net


def build_small(
    image_size: tuple[int, int],
    num_classes: int,
    *,
    stem: dict[str, int],
    channels: tuple[int, ...],
    depths: tuple[int, ...],
    **options: Any,
) -> nn.Module:
    """Build a HaloNet for small images, with blocks of about 4 pixels a side and a halo of half.

    The first stage is convolutional, as in the paper's fastest large models. The others start
    with a convolutional bottleneck of stride 2; all further blocks attend. `stem` is the kernel
    size, stride and padding of the first convolution.

    Raises UsageError where a map cannot be cut into blocks of 2 to 8 pixels a side.
    """
    stem_stride = stem["stride"]
    deepest = stem_stride * 2 ** (len(depths) - 1)
    stages: list[Any] = [ByoBlockCfg("bottle", d=depths[0], c=channels[0], s=1, br=0.5)]
    for i, (width, depth) in enumerate(zip(channels[1:], depths[1:], strict=True), start=1):
        side = block_side(image_size, stem_stride * 2**i, deepest, preferred=4)
        attention = {
            "block_size": side,
            "halo_size": side // 2,
            "num_heads": width // HEAD_WIDTH,
        }
        shrink = ByoBlockCfg("bottle", d=1, c=width, s=2, br=0.5)
        attend = ByoBlockCfg("self_attn", d=depth - 1, c=width, s=1, self_attn_kwargs=attention)
        stages.append((shrink, attend))
    config = ByoModelCfg(
        blocks=tuple(stages),
        stem_chs=channels[0],
        stem_pool="",
        act_layer="silu",
        self_attn_layer="halo",
    )
    net = ByobNet(config, num_classes=num_classes, **options)
    net.stem = ConvNormAct(3, channels[0], act_layer="silu", **stem)
    nn.init.kaiming_normal_(net.stem.conv.weight, mode="fan_out", nonlinearity="relu")
    return net


def block_side(image_size: tuple[int, int], reduction: int, deepest: int, preferred: int) -> int:
    """Return the side, nearest to `preferred`, of the blocks for the map 1/`reduction` the size.

    Args:
        image_size: height and width in pixels.
        reduction: pixels of the image to a pixel of this map, along a side.
        deepest: the same for the last map, which must come out whole.
        preferred: the wanted side; found are 2 to twice as much.

    Raises:
        UsageError: no side fits.
    """
    common = gcd(*image_size)
    if common % deepest == 0:
        sides = [n for n in range(2, 2 * preferred + 1) if common // reduction % n == 0]
        if sides:
            return min(sides, key=lambda side: (abs(side - preferred), -side))
    height, width = image_size
    raise UsageError(
        f"image size {height}x{width} does not divide into halo attention's blocks. "
        f"Use {fitting_size(image_size, (2 * deepest, 2 * deepest))}."
    )
