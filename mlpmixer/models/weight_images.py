"""Weights that are pictures: what the first layer sees of pixels, token mixing of patches."""

from typing import NamedTuple

from torch import Tensor, nn

from mlpmixer.models.interface import ImageModel
from mlpmixer.models.mixer import Mixer, MixerBlock


class TokenMixingWeights(NamedTuple):
    """The weights of one token-mixing MLP's hidden units, as pictures of the patch grid."""

    inputs: Tensor
    """(D_S, grid_h, grid_w): what a unit takes from each patch, a row of W1."""
    outputs: Tensor
    """(D_S, grid_h, grid_w): what it adds to each patch, a column of W2."""


def stem_filters(model: ImageModel) -> Tensor | None:
    """Return the filters of the first layer, (C, P, P', 3), float32 on the CPU.

    Of a Mixer, the rows of the patch embedding; of other models, the kernels of the first
    convolution, in the standardised form in which BiT and NFNet apply them. None where the first
    layer is no such thing, or takes other than three colours.
    """
    if isinstance(model, Mixer):
        side = model.config.patch_size
        kernels = model.stem.proj.weight.unflatten(1, (-1, side, side))  # (C, 3, P, P)
        return _colours_last(kernels) if model.config.in_channels == 3 else None
    layers = (module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear))
    first = next(layers, None)
    if not isinstance(first, nn.Conv2d) or first.in_channels != 3 or first.groups != 1:
        return None
    kernels = first.weight
    if "Std" in type(first).__name__:  # timm's four classes with weight standardisation
        kernels = kernels - kernels.mean(
            dim=(1, 2, 3), keepdim=True
        )  # the scale is lost in drawing
    return _colours_last(kernels)


def token_mixing_weights(model: Mixer) -> list[TokenMixingWeights]:
    """Return the weights of every block's token mixing, float32 on the CPU."""
    found = []
    for block in model.blocks:
        assert isinstance(block, MixerBlock)
        reading, writing = block.mlp_tokens.fc1.weight, block.mlp_tokens.fc2.weight
        images = (
            _plain(weight).unflatten(1, model.config.grid) for weight in (reading, writing.mT)
        )
        found.append(TokenMixingWeights(*images))
    return found


def _colours_last(kernels: Tensor) -> Tensor:
    return _plain(kernels).permute(0, 2, 3, 1).contiguous()


def _plain(weights: Tensor) -> Tensor:
    return weights.detach().float().cpu()
