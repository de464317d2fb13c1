"""Each level checks itself against the portable one before it is used: some 50 milliseconds, once.

A level that no machine of its author's has could be wrong; its user shall not pay for it.
"""

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from typing import Literal, get_args

import torch
from torch import Tensor

from mlpmixer.errors import MixerError
from mlpmixer.kernels.library import library
from mlpmixer.kernels.native import MixerShape, NativeMixer, Precision, levels_here
from mlpmixer.kernels.training import Across, MlpOptions, TrainingPrecision, mixing, trains

Gelu = Literal["tanh", "erf"]
_KINDS: tuple[tuple[Across, Gelu], ...] = tuple(product(get_args(Across), get_args(Gelu)))
TOLERANCES: dict[Precision, float] = {"float32": 1e-4, "bfloat16": 0.05, "int8": 0.1}
"""Largest difference that passes, as a share of the largest value."""


def choose_level(precision: Precision, tolerance: float | None = None) -> str:
    """Return the highest level that runs here and agrees with the portable one.

    A level that does not is reported once, as a RuntimeWarning.

    Args:
        precision: of the products' operands.
        tolerance: another one than TOLERANCES holds.

    Raises:
        MixerError: there is none, and why.
    """
    allowed = TOLERANCES[precision] if tolerance is None else tolerance
    return _highest_right(
        levels_here(precision), precision, allowed, lambda level: self_check(level, precision)
    )


def choose_training_level(
    precision: TrainingPrecision = "float32", tolerance: float | None = None
) -> str:
    """Return the highest level that agrees with the portable one in training.

    Reports and raises as `choose_level` does.

    Args:
        precision: of the products' operands.
        tolerance: another one than TOLERANCES holds.
    """
    allowed = TOLERANCES[precision] if tolerance is None else tolerance
    levels = [level for level in levels_here(precision) if trains(level, precision)]
    return _highest_right(
        levels, precision, allowed, lambda level: training_self_check(level, precision)
    )


def _highest_right(
    levels: Sequence[str],
    precision: Precision,
    tolerance: float,
    error_of: Callable[[str], float],
) -> str:
    for level in levels:
        error = error_of(level)
        if error <= tolerance:
            return level
        _report(level, precision, error)
    raise MixerError(library().reason or f"no level can compute in {precision} here.")


# Form of the GELU, rows and columns of tokens, width, depth, hidden units of both MLPs. The last
# two are long enough for what small ones leave out: sums in several parts along the inputs, hidden
# channels in several chunks, and more tokens than are taken at once.
_MIXERS: tuple[tuple[Gelu, tuple[int, int], int, int, int, int], ...] = (
    ("tanh", (7, 8), 100, 2, 37, 150),
    ("erf", (4, 5), 33, 2, 37, 150),
    ("tanh", (1, 3), 800, 1, 800, 800),
    ("erf", (20, 21), 33, 1, 37, 40),
)


@cache
def self_check(level: str, precision: Precision) -> float:
    """Return a level's largest difference from the portable one in float32.

    It is a share of the largest value, over some Mixers with all kinds of edges.
    """
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for gelu, (rows, columns), width, depth, tokens_mlp_dim, channels_mlp_dim in _MIXERS:
        shape = MixerShape(
            image_size=(rows * 2, columns * 2),
            patch_size=2,
            in_channels=3,
            width=width,
            depth=depth,
            tokens_mlp_dim=tokens_mlp_dim,
            channels_mlp_dim=channels_mlp_dim,
            num_classes=11,
            gelu=gelu,
            layer_norm_epsilon=1e-6,
        )
        weights = [
            _random(generator, *size) * (size[-1] ** -0.5 if len(size) > 1 else 0.5)
            for size in shape.weight_shapes()
        ]
        images = _random(generator, 3, 3, *shape.image_size).clamp(-1, 1)
        reference = NativeMixer(shape, weights, "float32", "portable")
        tested = NativeMixer(shape, weights, precision, level)
        for output in (NativeMixer.tokens, NativeMixer.logits):
            expected = output(reference, images, 1)
            worst = max(worst, *(_error(output(tested, images, n), expected) for n in (1, 2)))
    return worst


# Images, tokens, channels, hidden units, across what, form of the GELU. The last one has gradients
# so large that tiles gather them from several chunks of rows.
_BLOCKS: tuple[tuple[int, int, int, int, Across, Gelu], ...] = (
    *((3, 23, 100, 37, *kind) for kind in _KINDS),
    *((2, 49, 33, 37, *kind) for kind in _KINDS),
    (5, 47, 256, 520, "channels", "tanh"),
)


@cache
def training_self_check(level: str, precision: TrainingPrecision = "float32") -> float:
    """Return a level's largest difference from the portable one's float32 in a block's training.

    It is a share of the largest value, over outputs and gradients of MLPs with all kinds of edges.
    """
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return _random(generator, *shape).requires_grad_()

    worst = 0.0
    for images, tokens, channels, hidden, across, gelu in _BLOCKS:
        values, upstream = random(images, tokens, channels), random(images, tokens, channels)
        outer = tokens if across == "tokens" else channels
        weights = [random(*size) for size in ((channels,), (channels,), (hidden, outer), (hidden,))]
        weights += [random(outer, hidden), random(outer)]
        found = []
        for one, multiplied in (("portable", "float32"), (level, precision)):
            options = MlpOptions(
                across=across,
                gelu=gelu,
                layer_norm_epsilon=1e-6,
                residual=gelu == "tanh",
                level=one,
                precision="float32" if multiplied == "float32" else "bfloat16",
            )
            mixed = mixing(values, weights, options)
            found.append([mixed, *torch.autograd.grad(mixed, [values, *weights], upstream)])
        for expected, tested in zip(*found, strict=True):
            worst = max(worst, _error(tested, expected))
    return worst


def _error(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference as a share of the largest value, infinity for NaN."""
    error = ((found - expected).abs().max() / expected.abs().max()).item()
    return error if error == error else float("inf")


def _random(generator: torch.Generator, *shape: int) -> Tensor:
    """Return numbers as the kernels take them, whatever type and device are the defaults."""
    return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")


@cache
def _report(level: str, precision: Precision, error: float) -> None:
    warnings.warn(
        f"the native kernels of level {level} are wrong on this processor in {precision} "
        f"(by {error:.2g} of the largest value) and not used. Please report it.",
        RuntimeWarning,
        stacklevel=3,
    )
