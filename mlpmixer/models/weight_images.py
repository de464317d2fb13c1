"""Weights that are pictures: what the first layer sees of pixels, token mixing of patches."""

from typing import NamedTuple

from torch import Tensor, nn

from mlpmixer.models.interface import ImageModel


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
    if model.in_channels != 3:
        return None
    layers = (module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear))
    first = next(layers, None)
    if isinstance(first, nn.Linear) and model.patch_grid is not None:
        height, width = (n // m for n, m in zip(model.image_size, model.patch_grid, strict=True))
        if first.in_features == 3 * height * width:
            return _colours_last(first.weight.unflatten(1, (3, height, width)))  # (C, 3, P, P)
    if not isinstance(first, nn.Conv2d) or first.in_channels != 3 or first.groups != 1:
        return None
    kernels = first.weight
    if "Std" in type(first).__name__:  # timm's four classes with weight standardisation
        kernels = kernels - kernels.mean(
            dim=(1, 2, 3), keepdim=True
        )  # the scale is lost in drawing
    return _colours_last(kernels)


def token_mixing_weights(model: ImageModel) -> list[TokenMixingWeights]:
    """Return the weights of every block's token mixing, float32 on the CPU; empty without any."""
    grid = model.patch_grid
    if grid is None:
        return []
    return [
        TokenMixingWeights(_plain(mlp.w1).unflatten(1, grid), _plain(mlp.w2.mT).unflatten(1, grid))
        for mlp in model.token_mlps()
    ]


def _colours_last(kernels: Tensor) -> Tensor:
    return _plain(kernels).permute(0, 2, 3, 1).contiguous()


def _plain(weights: Tensor) -> Tensor:
    return weights.detach().float().cpu()
