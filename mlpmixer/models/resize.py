"""Moving a trained Mixer to another grid of patches.

Token mixing has a weight for every patch, so another image size needs other matrices. Two ways:

- tiles: for integer factors, section 3.1 of the paper (https://arxiv.org/abs/2105.01601). The new
  grid is taken as tiles of the old size; the matrices become block-diagonal with a copy for each
  tile, and the hidden layer grows likewise. The new network treats each tile as the old one did.
- interpolate: for any grid. Each hidden unit's input weights are an image on the grid, and so are
  its output weights; both are resampled, the input weights scaled so that sums stay what they were.

The patch size can change too, with the grid as it is. Two ways for the stem's filters:

- resample: the new filter resizes the patch to its old size and applies the old filter.
- pseudo_inverse: the new filter gives a resized patch the token that the patch gave
  (https://arxiv.org/abs/2212.08013, section 3.3).

Which way is best for which size was measured: see "Another image size" in docs/results.md.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from mlpmixer.errors import UsageError
from mlpmixer.models.checks import check_patches, height_and_width
from mlpmixer.models.interface import ImageModel, TokenMlp
from mlpmixer.models.layers import lecun_normal

Method = Literal["auto", "tiles", "interpolate", "fresh"]
StemMethod = Literal["resample", "pseudo_inverse"]
Size = tuple[int, int]
Model = TypeVar("Model", bound=ImageModel)

STEM = "stem.proj.weight"
TOKEN_MLP = "mlp_tokens.fc1.weight"


def resize(
    model: Model,
    image_size: int | tuple[int, int],
    *,
    patch_size: int | None = None,
    method: Method = "auto",
    stem: StemMethod = "resample",
) -> Model:
    """Return a model for another image size, with the weights of `model`, which stays as it is.

    Args:
        model: a Mixer; of other families those that can be resized, which take no further options.
        image_size: side, or height and width, in pixels.
        patch_size: another side of the patches in pixels; None keeps it, except under auto.
        method: how token mixing gets its new weights. auto: for smaller images, smaller patches on
            the same grid, where whole pixels allow it; else tiles where both sides of the grid
            grow by integer factors, else interpolate. fresh: start token mixing anew.
        stem: how the stem's filters get another patch size.

    Raises:
        UsageError: the model cannot be resized, the patch size does not divide the image, or tiles
            do not fit the grid.
    """
    usual = {"patch_size": None, "method": "auto", "stem": "resample"}
    asked = {"patch_size": patch_size, "method": method, "stem": stem}
    how = {name: value for name, value in asked.items() if value != usual[name]}
    resized = model.resized(image_size, **how)
    assert isinstance(resized, type(model))
    return resized


class ResizedWeights(NamedTuple):
    """A Mixer's weights for another image size."""

    changes: dict[str, Any]
    """What is new in the configuration."""
    weights: dict[str, Tensor]
    """All tensors by name, none of them shared with the old ones."""


def resize_weights(
    weights: Mapping[str, Tensor],
    old_size: Size,
    old_patch_size: int,
    image_size: int | tuple[int, ...],
    *,
    patch_size: int | None = None,
    method: Method = "auto",
    stem: StemMethod = "resample",
) -> ResizedWeights:
    """Return the weights of a Mixer for another image size.

    Args:
        weights: a Mixer's tensors by name.
        old_size: height and width that they are for, in pixels.
        old_patch_size: side of their patches in pixels.
        image_size: the new side, or height and width, in pixels.
        patch_size: as for `resize`, like all that follow.
        method: how token mixing gets its new weights.
        stem: how the stem's filters get another patch size.

    Raises:
        UsageError: the patch size does not divide the new image, or tiles do not fit the grid.
    """
    size = height_and_width(image_size)
    old = old_size[0] // old_patch_size, old_size[1] // old_patch_size
    side = patch_size
    if side is None:
        smaller = _smaller_patch(old, old_patch_size, size) if method == "auto" else None
        side = smaller or old_patch_size
    check_patches(size, (side, side))
    new = size[0] // side, size[1] // side
    tiled = new[0] % old[0] == 0 and new[1] % old[1] == 0
    if method == "tiles" and not tiled:
        raise UsageError(
            f"a grid of {new[0]}x{new[1]} patches is no multiple of {old[0]}x{old[1]}: "
            "use method interpolate."
        )
    if method == "auto":
        method = "tiles" if tiled else "interpolate"
    resized = {name: tensor.clone() for name, tensor in weights.items()}
    if side != old_patch_size:
        resized[STEM] = resize_stem(weights[STEM], old_patch_size, side, stem)
    hidden = 0
    for first in (name for name in weights if name.endswith(TOKEN_MLP)):
        mlp = first.removesuffix("fc1.weight")
        names = [f"{mlp}{part}" for part in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")]
        mixing = TokenMlp(*(weights[name] for name in names))
        if method == "tiles":
            mixing = tile_token_mixing(mixing, old, new)
        elif method == "interpolate":
            mixing = interpolate_token_mixing(mixing, old, new)
        else:
            mixing = fresh_token_mixing(mixing, new)
        resized |= dict(zip(names, mixing, strict=True))
        hidden = len(mixing.w1)
    changes = {"image_size": size, "patch_size": side, "tokens_mlp_dim": hidden}
    return ResizedWeights(changes, resized)


def _smaller_patch(grid: Size, patch_size: int, size: Size) -> int | None:
    """Return the patch size that keeps the grid for smaller images; None where there is none."""
    height, width = (new // cells for new, cells in zip(size, grid, strict=True))
    whole = (height * grid[0], width * grid[1]) == size
    return height if whole and height == width and 0 < height < patch_size else None


def tile_token_mixing(mixing: TokenMlp, old: Size, new: Size) -> TokenMlp:
    """Return block-diagonal token mixing for a grid that consists of tiles of the old one."""
    w1, b1, w2, b2 = mixing
    rows, columns = new[0] // old[0], new[1] // old[1]
    tiles, hidden, tokens = rows * columns, *w1.shape
    position = torch.arange(new[0] * new[1], device=w1.device).view(new)  # (h', w')
    of_tile = position.unflatten(1, (columns, old[1])).unflatten(0, (rows, old[0]))
    of_tile = of_tile.permute(0, 2, 1, 3).reshape(tiles, tokens)  # (K·K, S), positions in the grid
    new_w1 = w1.new_zeros(tiles * hidden, tiles * tokens)
    new_w2 = w2.new_zeros(tiles * tokens, tiles * hidden)
    new_b2 = b2.new_empty(tiles * tokens)
    for tile, where in enumerate(of_tile):
        units = slice(tile * hidden, (tile + 1) * hidden)
        new_w1[units, where] = w1
        new_w2[where, units] = w2
        new_b2[where] = b2
    return TokenMlp(new_w1, b1.repeat(tiles), new_w2, new_b2)


def interpolate_token_mixing(mixing: TokenMlp, old: Size, new: Size) -> TokenMlp:
    """Return token mixing with its weights resampled over the grid; the hidden width stays."""
    w1, b1, w2, b2 = mixing
    share = (old[0] * old[1]) / (new[0] * new[1])  # more tokens would make larger sums
    new_w1 = resample(w1, old, new) * share
    new_w2 = resample(w2.mT, old, new).mT
    new_b2 = resample(b2[None], old, new)[0]
    return TokenMlp(new_w1, b1.clone(), new_w2, new_b2)


def resample(values: Tensor, old: Size, new: Size) -> Tensor:
    """Resample rows of values on a grid (N, h·w) to (N, h'·w')."""
    images = values.unflatten(1, old)[None].float()  # (1, N, h, w)
    smaller = new[0] < old[0] or new[1] < old[1]
    images = F.interpolate(images, new, mode="bicubic", align_corners=False, antialias=smaller)
    return images[0].flatten(1).to(values.dtype)


def resize_stem(weight: Tensor, old: int, new: int, method: StemMethod = "resample") -> Tensor:
    """Return the stem's filters (C, 3·P·P) for patches of another side; see the module."""
    filters = weight.unflatten(1, (-1, old * old)).double().cpu()  # (C, 3, P·P)
    if method == "resample":
        change = _resizing(new, old, antialias=True)  # (P·P, P'·P')
    else:
        change = torch.linalg.pinv(_resizing(old, new, antialias=False))
    return (filters @ change).flatten(1).to(weight)  # (C, 3·P'·P')


def _resizing(old: int, new: int, antialias: bool) -> Tensor:
    """Return the linear map (P'·P', P·P) from a patch to a resized one."""
    identity = torch.eye(old * old, dtype=torch.float64).unflatten(1, (old, old))[:, None]
    resized = F.interpolate(
        identity, (new, new), mode="bilinear", align_corners=False, antialias=antialias
    )
    return resized.flatten(1).mT


def fresh_token_mixing(like: TokenMlp, grid: Size) -> TokenMlp:
    """Return untrained token mixing for a grid, with as many hidden units as before."""
    hidden, tokens = len(like.w1), grid[0] * grid[1]
    parameters: list[Tensor] = []
    for layer in (torch.nn.Linear(tokens, hidden), torch.nn.Linear(hidden, tokens)):
        lecun_normal(layer)
        parameters += [layer.weight.detach().to(like.w1), layer.bias.detach().to(like.b1)]
    return TokenMlp(*parameters)
