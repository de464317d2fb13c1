"""Mixers with random weights, packed for the native kernels, and the same in float64."""

from typing import Any

import torch
from torch import Tensor

from mlpmixer.kernels.native import MixerShape, NativeMixer, Precision
from mlpmixer.models.mixer import Mixer, MixerConfig

BOUNDS = {"float32": 1e-5, "bfloat16": 0.02, "int8": 0.05}
"""Largest error of normalised tokens, as a share of the largest of them."""


def random_mixer(seed: int = 0, **changes: Any) -> Mixer:
    """Return a Mixer with random weights, biases and gains everywhere."""
    settings: dict[str, Any] = {
        "image_size": (6, 8),
        "patch_size": 2,
        "width": 40,
        "depth": 2,
        "tokens_mlp_dim": 18,
        "channels_mlp_dim": 70,
        "num_classes": 5,
    }
    mixer = Mixer(MixerConfig(**{**settings, **changes})).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in mixer.parameters():
            spread = weight.shape[-1] ** -0.5 if weight.ndim > 1 else 0.5
            weight.copy_(torch.randn(weight.shape, generator=generator) * spread)
    return mixer


def packed(mixer: Mixer, level: str, precision: Precision) -> NativeMixer:
    names = MixerShape.__dataclass_fields__
    shape = MixerShape(**{name: getattr(mixer.config, name) for name in names})
    return NativeMixer(shape, list(mixer.parameters()), precision, level)


def images_for(mixer: Mixer, batch: int, seed: int = 1) -> Tensor:
    size = (batch, mixer.config.in_channels, *mixer.image_size)
    return torch.rand(size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def exact(mixer: Mixer, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return tokens and logits in float64."""
    with torch.no_grad():
        double = mixer.double()
        tokens = double.forward_features(images.double())
        logits = double.forward_head(tokens)
    mixer.float()
    return tokens, logits


def share(found: Tensor, expected: Tensor) -> float:
    return ((found.double() - expected).abs().max() / expected.abs().max()).item()
