"""Whether the least that training a Mixer takes fits in memory, told before the model is built.

A model that is far too large would otherwise fill the memory layer by layer, until the system ends
the process without a word.
"""

from dataclasses import replace

import torch

from mlpmixer.errors import UsageError
from mlpmixer.formatting import memory
from mlpmixer.memory import free_memory
from mlpmixer.models.mixer import Mixer, MixerConfig
from mlpmixer.models.model_summary import count_parameters

OF_A_WEIGHT = 4
"""Bytes of a number, float32."""
OF_A_MOVED_WEIGHT = 12
"""With its gradient and an average of its gradients, which every optimizer keeps."""


def check_memory(config: MixerConfig, *, moved: bool) -> None:
    """Raise UsageError where a Mixer takes more of the machine's memory than is free.

    The depth that would fit is named; where not even one block does, the width is to blame.

    Args:
        config: the Mixer that is to be built.
        moved: whether all its weights are trained in this memory, not on a GPU or in parts.
    """
    one, two = (_parameters(replace(config, depth=depth)) for depth in (1, 2))
    block = two - one
    each = OF_A_MOVED_WEIGHT if moved else OF_A_WEIGHT
    count = one + (config.depth - 1) * block
    needed, free = count * each, free_memory(torch.device("cpu"))
    if needed <= free:
        return
    fitting = (free // each - one) // block + 1
    remedy = (
        f"--depth {fitting} or less"
        if fitting >= 1
        else "a smaller --width, --image-size, --tokens-mlp-dim or --channels-mlp-dim"
    )
    raise UsageError(
        f"a model of {count:,} parameters takes at least {memory(needed)} of memory in training, "
        f"and {memory(free)} are free: use {remedy}."
    )


def _parameters(config: MixerConfig) -> int:
    """Return how many parameters a Mixer has, without the memory for them."""
    with torch.device("meta"):
        return count_parameters(Mixer(config))
