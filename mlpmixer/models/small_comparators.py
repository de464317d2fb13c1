"""Rivals of Mixer for images of 8 to 64 pixels, assembled from timm's own blocks.

Each family keeps what makes it that family and gives up only what assumes large images: the stem
that shrinks the image to a quarter before anything is learned. The convolutional ones work on
maps of 32, 16 and 8 pixels a side, as ResNets for CIFAR do, and most of their depth is in the
last; larger images enter through a stem with a larger stride, so that they cost the same.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from math import log2
from typing import Any

# isort: split
from timm.layers import GroupNormAct, ScaledStdConv2d, StdConv2d
from timm.models.nfnet import NfCfg, NormFreeNet
from timm.models.resnetv2 import ResNetV2
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from mlpmixer.models import halonets

GRID = 8
"""Patches along the shorter side of the image: 64 tokens in a square one."""
FIRST_MAP = 32
"""Pixels along the shorter side of the first stage's map; smaller images keep theirs."""


def build_vit(image_size: tuple[int, int], num_classes: int, **options: Any) -> nn.Module:
    """Build a Vision Transformer (https://arxiv.org/abs/2010.11929) on about 8x8 patches.

    Its tokens are averaged after the last LayerNorm instead of read from a class token, which
    small ViTs learn better with (https://arxiv.org/abs/2205.01580); weights start as in the
    authors' JAX code.
    """
    defaults = {
        "patch_size": max(1, round(min(image_size) / GRID)),
        "class_token": False,
        "global_pool": "avg",
        "fc_norm": False,
        "weight_init": "jax",
    }
    return VisionTransformer(
        img_size=image_size, num_classes=num_classes, **{**defaults, **options}
    )


def build_bit(image_size: tuple[int, int], num_classes: int, **options: Any) -> nn.Module:
    """Build a BiT (https://arxiv.org/abs/1912.11370) of pre-activation blocks of two convolutions.

    Convolutions have standardised weights. GroupNorm takes 16 channels a group: BiT's 32 groups
    would be one channel each here, and how strongly a filter responds to an image would be lost.
    """
    defaults = {
        "basic": True,
        "bottle_ratio": 1.0,
        "norm_layer": partial(GroupNormAct, group_size=16),
    }
    net = ResNetV2(num_classes=num_classes, **{**defaults, **options})
    width = net.stem.conv.out_channels
    stem = StdConv2d(3, width, **_stem(image_size))
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    net.stem = nn.Sequential(OrderedDict(conv=stem))
    return net


def build_nfnet(
    image_size: tuple[int, int],
    num_classes: int,
    *,
    depths: tuple[int, ...],
    channels: tuple[int, ...],
    **options: Any,
) -> nn.Module:
    """Build an NFNet (https://arxiv.org/abs/2102.06171): no normalisation at all.

    As NFNet-F: scaled weight standardisation, residual branches scaled by alpha and their inputs
    by the expected variance, bottlenecks of two 3x3 convolutions with squeeze-and-excitation,
    branches that start at zero, a last 1x1 convolution to twice the width.
    """
    config = NfCfg(
        depths=depths,
        channels=channels,
        stem_type="3x3_pool",  # replaced below; of stride 4, so that the first stage has stride 1
        bottle_ratio=0.5,
        extra_conv=True,
        num_features=2 * channels[-1],
        act_layer="gelu",
        attn_layer="se",
        attn_kwargs={"rd_ratio": 0.25},
    )
    net = NormFreeNet(config, num_classes=num_classes, **options)
    first = net.stem.conv
    stem = ScaledStdConv2d(
        3,
        first.out_channels,
        gamma=first.scale * first.weight[0].numel() ** 0.5,  # undoes what GELU takes from the scale
        eps=first.eps,
        **_stem(image_size),
    )
    nn.init.kaiming_normal_(stem.weight, mode="fan_in", nonlinearity="linear")
    nn.init.zeros_(stem.bias)
    net.stem = nn.Sequential(OrderedDict(conv=stem))
    return net


def build_halonet(image_size: tuple[int, int], num_classes: int, **options: Any) -> nn.Module:
    """Build a HaloNet for small images; see `halonets.build_small`."""
    return halonets.build_small(image_size, num_classes, stem=_stem(image_size), **options)


FAMILIES: dict[str, Callable[..., nn.Module]] = {
    "vit": build_vit,
    "bit": build_bit,
    "nfnet": build_nfnet,
    "halonet": build_halonet,
    "halonet_h1": halonets.build_h1,
}
"""How to build each family: (image_size, num_classes, **options of timm's class)."""


def _stem(image_size: tuple[int, int]) -> dict[str, int]:
    """Return the shape of the first convolution, whose stride leads to a map of about 32 pixels."""
    stride = 2 ** max(0, int(log2(min(image_size) / FIRST_MAP)))
    kernel = max(3, 2 * stride - 1)
    return {"kernel_size": kernel, "stride": stride, "padding": kernel // 2}
