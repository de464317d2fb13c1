"""The authors' older .npz files: other names, and singleton dimensions around the same numbers.

https://github.com/google-research/vision_transformer; the GELU is the tanh approximation.
"""

from collections.abc import Iterator
from functools import partial

from torch import Tensor

from mlpmixer.models.mixer import MixerConfig
from mlpmixer.weights.layout import Entry, Layout, transposed
from mlpmixer.weights.layouts.google import ends, infer, norms


def _squeezed_matrix(kernel: Tensor) -> Tensor:
    return kernel.squeeze().mT


def _entries(config: MixerConfig) -> Iterator[Entry]:
    yield from ends(config, "embedding", "Mixer/encoder_norm")
    for index in range(config.depth):
        ours, theirs = f"blocks.{index}", f"Mixer/encoderblock_{index}"
        yield from norms(ours, theirs)
        for mlp, mixing in (("mlp_tokens", "token_mixing"), ("mlp_channels", "channel_mixing")):
            for layer in (1, 2):
                target, phase = f"{ours}.{mlp}.fc{layer}", f"{theirs}/{mixing}_phase_0"
                kernel, bias = f"{phase}/kernel{layer}", f"{phase}/bias{layer}"
                yield Entry(f"{target}.weight", kernel, _squeezed_matrix, transposed)
                yield Entry(f"{target}.bias", bias, Tensor.squeeze)


LAYOUT = Layout(
    name="the authors' older .npz",
    matches=lambda names: any(name.startswith("Mixer/encoderblock_") for name in names),
    infer=partial(
        infer,
        "embedding/kernel",
        "Mixer/encoderblock_0",
        "token_mixing_phase_0/kernel1",
        "channel_mixing_phase_0/kernel1",
    ),
    entries=_entries,
    gelu="tanh",
)
