"""The authors' .npz files in Flax's layout.

https://github.com/google-research/vision_transformer: kernels are stored (in, out), the stem's as
(P, P, 3, C); the GELU is the tanh approximation.
"""

from collections.abc import Iterator
from functools import partial

from torch import Tensor

from mlpmixer.models.mixer import MixerConfig
from mlpmixer.weights.layout import Entry, Layout, Shapes, square_grid, transposed


def stem_to_ours(kernel: Tensor) -> Tensor:
    """(P, P, 3, C) to (C, 3·P·P)."""
    return kernel.permute(3, 2, 0, 1).flatten(1)


def stem_to_theirs(patch_size: int, weight: Tensor) -> Tensor:
    """(C, 3·P·P) to (P, P, 3, C)."""
    return weight.unflatten(1, (-1, patch_size, patch_size)).permute(2, 3, 1, 0)


def ends(config: MixerConfig, stem: str, norm: str) -> Iterator[Entry]:
    """Yield what is not in a block: the stem, the last norm, the head."""
    to_theirs = partial(stem_to_theirs, config.patch_size)
    yield Entry("stem.proj.weight", f"{stem}/kernel", stem_to_ours, to_theirs)
    yield Entry("stem.proj.bias", f"{stem}/bias")
    yield Entry("norm.weight", f"{norm}/scale")
    yield Entry("norm.bias", f"{norm}/bias")
    if config.num_classes:
        yield Entry("head.weight", "head/kernel", transposed, transposed)
        yield Entry("head.bias", "head/bias")


def norms(ours: str, theirs: str) -> Iterator[Entry]:
    """Yield the two LayerNorms of a block."""
    for number in (0, 1):
        yield Entry(f"{ours}.norm{number + 1}.weight", f"{theirs}/LayerNorm_{number}/scale")
        yield Entry(f"{ours}.norm{number + 1}.bias", f"{theirs}/LayerNorm_{number}/bias")


def _entries(config: MixerConfig) -> Iterator[Entry]:
    yield from ends(config, "stem", "pre_head_layer_norm")
    for index in range(config.depth):
        ours, theirs = f"blocks.{index}", f"MixerBlock_{index}"
        yield from norms(ours, theirs)
        for mlp, mixing in (("mlp_tokens", "token_mixing"), ("mlp_channels", "channel_mixing")):
            for layer in (0, 1):
                target, source = f"{ours}.{mlp}.fc{layer + 1}", f"{theirs}/{mixing}/Dense_{layer}"
                yield Entry(f"{target}.weight", f"{source}/kernel", transposed, transposed)
                yield Entry(f"{target}.bias", f"{source}/bias")


def infer(stem: str, block: str, tokens: str, channels: str, shapes: Shapes) -> MixerConfig:
    """Read the configuration off the shapes of a few tensors."""
    patch_size, _, in_channels, width = shapes[stem]
    depth = len({name.split("/LayerNorm_0")[0] for name in shapes if "/LayerNorm_0/" in name})
    token_kernel = [n for n in shapes[f"{block}/{tokens}"] if n != 1]
    channel_kernel = [n for n in shapes[f"{block}/{channels}"] if n != 1]
    side = square_grid(token_kernel[0]) * patch_size
    return MixerConfig(
        image_size=(side, side),
        patch_size=patch_size,
        width=width,
        depth=depth,
        tokens_mlp_dim=token_kernel[-1],
        channels_mlp_dim=channel_kernel[-1],
        num_classes=shapes["head/kernel"][1] if "head/kernel" in shapes else 0,
        in_channels=in_channels,
        gelu="tanh",
    )


LAYOUT = Layout(
    name="the authors' .npz",
    matches=lambda names: "stem/kernel" in names,
    infer=partial(
        infer,
        "stem/kernel",
        "MixerBlock_0",
        "token_mixing/Dense_0/kernel",
        "channel_mixing/Dense_0/kernel",
    ),
    entries=_entries,
    gelu="tanh",
)
