"""The layout of lucidrains' mlp-mixer-pytorch: one nested nn.Sequential, so names are positions.

https://github.com/lucidrains/mlp-mixer-pytorch: token mixing is a convolution with kernel size 1,
patches are flattened row, column, channel; exact GELU, LayerNorm's epsilon is 1e-5.
"""

from collections.abc import Collection, Iterator
from functools import partial

from torch import Tensor

from mlpmixer.errors import UsageError
from mlpmixer.models.mixer import MixerConfig
from mlpmixer.weights.layout import Entry, Layout, Shapes, square_grid

CHANNELS = 3
"""Colour channels: they cannot be told from the shapes, and their own code defaults to these."""
FIRST_BLOCK = 2  # after the cutting into patches and the stem


def _stem_to_ours(patch_size: int, weight: Tensor) -> Tensor:
    """(C, P·P·3) to (C, 3·P·P)."""
    return weight.unflatten(1, (patch_size, patch_size, -1)).permute(0, 3, 1, 2).flatten(1)


def _stem_to_theirs(patch_size: int, weight: Tensor) -> Tensor:
    """(C, 3·P·P) to (C, P·P·3)."""
    return weight.unflatten(1, (-1, patch_size, patch_size)).permute(0, 2, 3, 1).flatten(1)


def _pointwise_to_ours(kernel: Tensor) -> Tensor:
    return kernel.squeeze(2)  # (out, in, 1) to (out, in)


def _pointwise_to_theirs(weight: Tensor) -> Tensor:
    return weight.unsqueeze(2)


def _entries(config: MixerConfig) -> Iterator[Entry]:
    read, write = (
        partial(_stem_to_ours, config.patch_size),
        partial(_stem_to_theirs, config.patch_size),
    )
    yield Entry("stem.proj.weight", "1.weight", read, write)
    yield Entry("stem.proj.bias", "1.bias")
    for index in range(config.depth):
        block = f"{FIRST_BLOCK + index}"
        for half, (norm, mlp) in enumerate((("norm1", "mlp_tokens"), ("norm2", "mlp_channels"))):
            for part in ("weight", "bias"):
                yield Entry(f"blocks.{index}.{norm}.{part}", f"{block}.{half}.norm.{part}")
            for layer, position in (("fc1", 0), ("fc2", 3)):
                ours, theirs = f"blocks.{index}.{mlp}.{layer}", f"{block}.{half}.fn.{position}"
                if half == 0:
                    changes = (_pointwise_to_ours, _pointwise_to_theirs)
                    yield Entry(f"{ours}.weight", f"{theirs}.weight", *changes)
                else:
                    yield Entry(f"{ours}.weight", f"{theirs}.weight")
                yield Entry(f"{ours}.bias", f"{theirs}.bias")
    last = FIRST_BLOCK + config.depth  # the norm; the average behind it has no weights
    for part in ("weight", "bias"):
        yield Entry(f"norm.{part}", f"{last}.{part}")
        if config.num_classes:
            yield Entry(f"head.{part}", f"{last + 2}.{part}")


def _infer(shapes: Shapes) -> MixerConfig:
    width, values = shapes["1.weight"]
    patch_size = round((values / CHANNELS) ** 0.5)
    if patch_size**2 * CHANNELS != values:
        raise UsageError(f"its patches of {values} values are not square patches of three colours.")
    tokens_mlp_dim, tokens, _ = shapes["2.0.fn.0.weight"]
    depth = len({name.split(".")[0] for name in shapes if name.endswith(".0.fn.0.weight")})
    head = f"{FIRST_BLOCK + depth + 2}.weight"
    side = square_grid(tokens) * patch_size
    return MixerConfig(
        image_size=(side, side),
        patch_size=patch_size,
        width=width,
        depth=depth,
        tokens_mlp_dim=tokens_mlp_dim,
        channels_mlp_dim=shapes["2.1.fn.0.weight"][0],
        num_classes=shapes[head][0] if head in shapes else 0,
        in_channels=CHANNELS,
        gelu="erf",
        layer_norm_epsilon=1e-5,
    )


def _matches(names: Collection[str]) -> bool:
    return "1.weight" in names and "2.0.fn.0.weight" in names


LAYOUT = Layout(
    name="lucidrains' mlp-mixer-pytorch",
    matches=_matches,
    infer=_infer,
    entries=_entries,
    gelu="erf",
    layer_norm_epsilon=1e-5,
    channels=CHANNELS,
)
