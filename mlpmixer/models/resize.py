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

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mlpmixer.errors import UsageError
from mlpmixer.models.mixer import Mixer, MixerConfig, initialize

Method = Literal["auto", "tiles", "interpolate", "fresh"]
StemMethod = Literal["resample", "pseudo_inverse"]
Grid = tuple[int, int]


def resize(
    model: Mixer,
    image_size: int | tuple[int, int],
    *,
    patch_size: int | None = None,
    method: Method = "auto",
    stem: StemMethod = "resample",
) -> Mixer:
    """Return a Mixer for another image size, with the weights of `model`, which stays as it is.

    Args:
        model: a Mixer.
        image_size: side, or height and width, in pixels.
        patch_size: another side of the patches in pixels; None keeps it, except under auto.
        method: how token mixing gets its new weights. auto: for smaller images, smaller patches on
            the same grid, where whole pixels allow it; else tiles where both sides of the grid
            grow by integer factors, else interpolate. fresh: start token mixing anew.
        stem: how the stem's filters get another patch size.

    Raises:
        UsageError: the patch size does not divide the image, or tiles do not fit the grid.
    """
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    patch = patch_size
    if patch is None:
        smaller = _smaller_patch(model.config, size) if method == "auto" else None
        patch = smaller or model.config.patch_size
    config = replace(model.config, image_size=size, patch_size=patch)
    old, new = model.config.grid, config.grid
    tiled = new[0] % old[0] == 0 and new[1] % old[1] == 0
    if method == "tiles" and not tiled:
        raise UsageError(
            f"a grid of {new[0]}x{new[1]} patches is no multiple of {old[0]}x{old[1]}: "
            "use method interpolate."
        )
    if method == "auto":
        method = "tiles" if tiled else "interpolate"
    if method == "tiles":
        factor = new[0] // old[0] * (new[1] // old[1])
        config = replace(config, tokens_mlp_dim=factor * config.tokens_mlp_dim)
    with torch.device("meta"):
        resized = Mixer(config, model.name)
    state = dict(model.state_dict())
    if patch != model.config.patch_size:
        state["stem.proj.weight"] = resize_stem(
            state["stem.proj.weight"], model.config.patch_size, patch, stem
        )
    for index in range(config.depth):
        block = f"blocks.{index}.mlp_tokens"
        names = [
            f"{block}.{layer}.{part}" for layer in ("fc1", "fc2") for part in ("weight", "bias")
        ]
        w1, b1, w2, b2 = (state[name] for name in names)
        if method == "tiles":
            changed = tile_token_mixing(w1, b1, w2, b2, old, new)
        elif method == "interpolate":
            changed = interpolate_token_mixing(w1, b1, w2, b2, old, new)
        else:
            changed = _fresh_token_mixing(config, w1)
        state |= dict(zip(names, changed, strict=True))
    resized.load_state_dict({name: tensor.clone() for name, tensor in state.items()}, assign=True)
    for parameter in resized.parameters():
        parameter.requires_grad_(True)
    resized.class_names, resized.facts = model.class_names, model.facts
    return resized.train(model.training)


def _smaller_patch(config: MixerConfig, size: tuple[int, int]) -> int | None:
    """Return the patch size that keeps the grid for smaller images; None where there is none."""
    height, width = (new // grid for new, grid in zip(size, config.grid, strict=True))
    whole = (height * config.grid[0], width * config.grid[1]) == size
    return height if whole and height == width and 0 < height < config.patch_size else None


TokenMixing = tuple[Tensor, Tensor, Tensor, Tensor]
"""W1 (D_S, S), its bias (D_S,), W2 (S, D_S), its bias (S,)."""


def tile_token_mixing(
    w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, old: Grid, new: Grid
) -> TokenMixing:
    """Return block-diagonal token mixing for a grid that consists of tiles of the old one."""
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
    return new_w1, b1.repeat(tiles), new_w2, new_b2


def interpolate_token_mixing(
    w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, old: Grid, new: Grid
) -> TokenMixing:
    """Return token mixing with its weights resampled over the grid; the hidden width stays."""
    share = (old[0] * old[1]) / (new[0] * new[1])  # more tokens would make larger sums
    new_w1 = resample(w1, old, new) * share
    new_w2 = resample(w2.mT, old, new).mT
    new_b2 = resample(b2[None], old, new)[0]
    return new_w1, b1, new_w2, new_b2


def resample(values: Tensor, old: Grid, new: Grid) -> Tensor:
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


def _fresh_token_mixing(config: MixerConfig, like: Tensor) -> TokenMixing:
    layers = (
        torch.nn.Linear(config.num_tokens, config.tokens_mlp_dim),
        torch.nn.Linear(config.tokens_mlp_dim, config.num_tokens),
    )
    for layer in layers:
        initialize(layer)
    w1, b1, w2, b2 = (
        part.detach().to(like) for layer in layers for part in (layer.weight, layer.bias)
    )
    return w1, b1, w2, b2
