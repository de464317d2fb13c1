"""What this machine offers: processor, kernels, engines, limits, what was chosen."""

import json
from dataclasses import dataclass
from typing import Any

import torch

from mlpmixer.data.cache import data_home
from mlpmixer.data.jpeg import region_decoder
from mlpmixer.data.resizing import native_resize
from mlpmixer.engines.training_blocks import TRAINED_IN, native_training_level
from mlpmixer.errors import MixerError
from mlpmixer.kernels.ceilings import arithmetic, product_ceiling, read_bandwidth
from mlpmixer.kernels.library import library
from mlpmixer.kernels.native import PRECISIONS, Precision, levels_here, tiles_missing
from mlpmixer.kernels.self_check import TOLERANCES, self_check
from mlpmixer.kernels.training import TrainingPrecision
from mlpmixer.runtime import machine


@dataclass(frozen=True)
class KernelLevel:
    """A level of the native kernels that this processor can run."""

    precision: Precision
    level: str
    error: float
    """Largest difference from the portable level in float32, as a share of the largest value."""
    used: bool
    """Whether it is the one that is taken."""


@dataclass(frozen=True)
class ThisMachine:
    """What is known of a machine."""

    facts: dict[str, str]
    kernels: str
    """Empty where the native kernels are there, else why not."""
    tiles: str
    """Why AMX is not used; empty where it is."""
    images: dict[str, str]
    """Of what decodes and resizes images in C++, the same."""
    levels: tuple[KernelLevel, ...]
    computed: dict[Precision, Precision]
    """In which precision the kernels compute where one is enough; see `arithmetic`."""
    training: dict[TrainingPrecision, str | None]
    """The level by which Mixers train in a precision; None: they train by PyTorch alone."""
    operations: dict[Precision, float]
    """A second, of products over registers alone, on all threads."""
    bytes: float | None
    """A second, read from memory by all threads; None where it cannot be measured."""
    chosen: tuple[dict[str, Any], ...]
    """What `optimize` timed here, with these versions, and the seconds that it took."""


def inspect_machine() -> ThisMachine:
    """Look at this machine, and measure it: about two seconds."""
    levels, operations = [], dict[Precision, float]()
    computed, bandwidth = dict[Precision, Precision](), None
    if library().functions is not None:
        for precision in PRECISIONS:
            taken = arithmetic(precision) != precision
            for level in levels_here(precision):
                error = self_check(level, precision)
                used = not taken and error <= TOLERANCES[precision]
                taken = taken or used
                levels.append(KernelLevel(precision, level, error, used))
            if levels_here(precision):
                computed[precision] = arithmetic(precision)
                operations[precision] = product_ceiling(precision)
        try:
            bandwidth = read_bandwidth()
        except MixerError:
            bandwidth = None  # memory is short: that is no reason to say nothing of the rest
    facts = machine(torch.device("cpu"))
    training = {precision: native_training_level(precision) for precision in TRAINED_IN.values()}
    chosen = _remembered(facts)
    return ThisMachine(
        facts=facts,
        kernels=library().reason,
        tiles=tiles_missing(),
        images={"parts of JPEGs": region_decoder().reason, "resize": native_resize().reason},
        levels=tuple(levels),
        computed=computed,
        training=training,
        operations=operations,
        bytes=bandwidth,
        chosen=chosen,
    )


def _remembered(facts: dict[str, str]) -> tuple[dict[str, Any], ...]:
    found = []
    for file in sorted((data_home() / "engines").glob("*.json")):
        try:
            entry = json.loads(file.read_text())
            seconds = {name: float(taken) for name, taken in entry["seconds"].items()}
            if entry["machine"] == facts:
                found.append({**entry, "name": str(entry["name"]), "seconds": seconds})
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            continue  # `optimize` times it anew as well
    return tuple(found)
