"""What networks are made of beside their architecture: how blocks run, start and are left out."""

from collections.abc import Collection, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class StochasticDepth(nn.Module):
    """Drops a whole residual branch of single images (https://arxiv.org/abs/1603.09382)."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, branch: Tensor) -> Tensor:
        """Zero the branch (B, S, C) of some images while training, and scale up the others."""
        if not self.training or self.probability == 0:
            return branch
        kept = 1 - self.probability
        mask = torch.empty(len(branch), 1, 1, device=branch.device).bernoulli_(kept)
        return branch * (mask / kept).to(branch.dtype)

    def extra_repr(self) -> str:
        return f"probability={self.probability:g}"


def lecun_normal(module: nn.Module) -> None:
    """Give a linear layer Flax's default start: LeCun-normal weight, zero bias.

    The normal distribution is cut at two standard deviations and widened so that the variance
    is 1/fan_in all the same.
    """
    if isinstance(module, nn.Linear):
        spread = module.in_features**-0.5 / 0.87962566103423978  # std of the cut normal
        nn.init.trunc_normal_(module.weight, std=spread, a=-2 * spread, b=2 * spread)
        nn.init.zeros_(module.bias)


def zero_weights(layers: Iterable[nn.Linear]) -> None:
    """Let layers give 0 until they are trained; where they end a residual branch, as if none were.

    https://arxiv.org/abs/1706.02677, section 5.1, of residual networks.
    """
    for layer in layers:
        nn.init.zeros_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def check_images(images: Tensor, in_channels: int, image_size: tuple[int, int]) -> None:
    """Raise ValueError where images are not (B, in_channels, *image_size)."""
    expected = (in_channels, *image_size)
    if images.shape[1:] != expected:
        raise ValueError(f"images of shape {tuple(images.shape)}: expected (B, *{expected})")


def renormalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Bring images (B, 3, H, W) in [-1, 1] into the range that foreign weights were trained with.

    `mean` is subtracted from pixels in [0, 1], and the difference divided by `std`; each has a
    number for every channel, or one for all. 0.5 and 0.5 leave the images as they are.
    """
    if (tuple(mean), tuple(std)) == ((0.5,), (0.5,)):
        return images
    pixels = images / 2 + 0.5
    return (pixels - images.new_tensor(mean)[:, None, None]) / images.new_tensor(std)[:, None, None]


def renormalized_stem(
    weight: Tensor, bias: Tensor, mean: Sequence[float], std: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Return a stem (C, 3·P·P) and its bias (C,) that do `renormalize` themselves."""
    colours = max(len(mean), len(std))
    filters = weight.unflatten(1, (colours, -1))  # (C, 3, P·P), or (C, 1, ·) for one mean
    filters = filters / weight.new_tensor(std)[:, None]
    middle = 0.5 - weight.new_tensor(mean)[:, None]
    return (filters / 2).flatten(1), bias + (filters * middle).sum((1, 2))


def chosen_blocks(indices: int | Sequence[int] | None, count: int) -> list[int]:
    """Return which of `count` blocks are meant: None for all, n for the last n, or a list.

    Indices in a list may be negative, as in Python; IndexError where there is no such block.
    """
    if indices is None or isinstance(indices, int):
        indices = range(count - (count if indices is None else indices), count)
    return [range(count)[index] for index in indices]


def run_blocks(
    blocks: Iterable[nn.Module],
    values: Tensor,
    *,
    keep: Collection[int] = (),
    recompute: bool = False,
) -> tuple[Tensor, dict[int, Tensor]]:
    """Run blocks one after the other.

    Args:
        blocks: each maps (B, S, C) to (B, S, C); only their call is used.
        values: what enters the first of them.
        keep: numbers of the blocks whose outputs are wanted; no other stays in memory.
        recompute: compute each block again in the backward pass instead of keeping its activations.

    Returns:
        The last output, and those in `keep` by number.
    """
    kept = {}
    for number, block in enumerate(blocks):
        if recompute and torch.is_grad_enabled():
            values = checkpoint(block, values, use_reentrant=False)
        else:
            values = block(values)
        if number in keep:
            kept[number] = values
    return values, kept
