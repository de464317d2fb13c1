"""timm's layout: its names are ours, but for the stem, which is a convolution there.

https://github.com/huggingface/pytorch-image-models, timm/models/mlp_mixer.py; the GELU is exact.
"""

from collections.abc import Collection, Iterator
from functools import partial

from torch import Tensor

from mlpmixer.errors import UsageError
from mlpmixer.models.mixer import MixerConfig
from mlpmixer.weights.layout import Entry, Layout, Shapes, square_grid


def _stem_to_ours(kernel: Tensor) -> Tensor:
    return kernel.flatten(1)  # (C, 3, P, P) to (C, 3·P·P)


def _stem_to_theirs(patch_size: int, weight: Tensor) -> Tensor:
    return weight.unflatten(1, (-1, patch_size, patch_size))


def _entries(config: MixerConfig) -> Iterator[Entry]:
    to_theirs = partial(_stem_to_theirs, config.patch_size)
    yield Entry("stem.proj.weight", "stem.proj.weight", _stem_to_ours, to_theirs)
    plain = ["stem.proj.bias", "norm.weight", "norm.bias"]
    if config.num_classes:
        plain += ["head.weight", "head.bias"]
    layers = ("norm1", "mlp_tokens.fc1", "mlp_tokens.fc2", "norm2")
    for index in range(config.depth):
        for layer in (*layers, "mlp_channels.fc1", "mlp_channels.fc2"):
            name = f"blocks.{index}.{layer}"
            plain += [f"{name}.weight", f"{name}.bias"]
    for name in plain:
        yield Entry(name, name)


def _infer(shapes: Shapes) -> MixerConfig:
    if len(shapes["stem.proj.weight"]) == 2:
        raise UsageError(
            "it is the bare state dict of a model of this package, which does not say all about "
            "the model. Load it into that model, and write it with mlpmixer.save."
        )
    width, in_channels, patch_size, _ = shapes["stem.proj.weight"]
    tokens_mlp_dim, tokens = shapes["blocks.0.mlp_tokens.fc1.weight"]
    side = square_grid(tokens) * patch_size
    return MixerConfig(
        image_size=(side, side),
        patch_size=patch_size,
        width=width,
        depth=len({name.split(".")[1] for name in shapes if name.startswith("blocks.")}),
        tokens_mlp_dim=tokens_mlp_dim,
        channels_mlp_dim=shapes["blocks.0.mlp_channels.fc1.weight"][0],
        num_classes=shapes["head.weight"][0] if "head.weight" in shapes else 0,
        in_channels=in_channels,
        gelu="erf",
    )


def _matches(names: Collection[str]) -> bool:
    return "stem.proj.weight" in names and "blocks.0.mlp_tokens.fc1.weight" in names


LAYOUT = Layout(name="timm's mixer", matches=_matches, infer=_infer, entries=_entries, gelu="erf")
