"""A Mixer block's two MLPs in training by the native kernels, with their gradients.

Each is LayerNorm, two products with a GELU between them, and the residual, as one operation: what
lies between two products stays in the caches, nothing is transposed in memory, and of the
activations only the hidden values before the GELU are kept for the backward pass. Products multiply
float32 or bfloat16; their sums, and all else, are float32 in either.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mlpmixer.errors import MixerError
from mlpmixer.kernels.library import library
from mlpmixer.kernels.native import PRECISIONS

Across = Literal["tokens", "channels"]
TrainingPrecision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class MlpOptions:
    """What one of the two MLPs is."""

    across: Across
    gelu: Literal["tanh", "erf"]
    layer_norm_epsilon: float
    residual: bool
    """Whether the input is added to the output."""
    level: str
    """One that computes in the precision; see `levels_here`."""
    precision: TrainingPrecision = "float32"
    """Of the products' operands, and of the hidden values that are kept for the backward pass."""


def trains(level: str, precision: TrainingPrecision) -> bool:
    """Tell whether a level of `levels_here` has what training takes besides products."""
    functions, sizes = library().functions, (ctypes.c_int64 * 6)(1, 1, 1, 1, 0, 0)
    number = PRECISIONS.index(precision)
    return functions is not None and (
        functions.mlpmixer_mlp_hidden(level.encode(), number, True, sizes) >= 0
    )


def mixing(values: Tensor, weights: Sequence[Tensor], options: MlpOptions) -> Tensor:
    """Map float32 tokens (B, S, C) on the CPU to (B, S, C), differentiably, once.

    Args:
        values: the tokens.
        weights: gain and shift (C,) of the LayerNorm, then weight and bias of both linear layers.
        options: which MLP.

    Raises:
        MixerError: memory is short.
    """
    mixed: Tensor = _Mixing.apply(values, options, *weights)
    return mixed


class _Mixing(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, options: MlpOptions, *weights: Tensor) -> Tensor:
        values = values.contiguous()
        weights = tuple(weight.contiguous() for weight in weights)
        call = _Call(options, values, weights)
        functions = library().functions
        assert functions is not None  # there is a level
        hidden = values.new_empty(functions.mlpmixer_mlp_hidden(*call.which), dtype=torch.uint8)
        means, rates = (values.new_empty(values.shape[:2]) for _ in range(2))
        kept = (hidden, means, rates)
        mixed = torch.empty_like(values)
        failed = functions.mlpmixer_mlp_forward(
            *call.which,
            options.layer_norm_epsilon,
            _addresses(weights),
            values.data_ptr(),
            mixed.data_ptr(),
            _addresses(kept),
            torch.get_num_threads(),
        )
        _check(failed, values)
        ctx.options = options
        ctx.save_for_backward(values, *kept, *weights)
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        values, *rest = ctx.saved_tensors
        kept, weights = rest[:3], rest[3:]
        gradient = gradient.contiguous()
        functions = library().functions
        assert functions is not None
        call = _Call(ctx.options, values, weights)
        own = torch.empty_like(values)
        gradients = [torch.empty_like(weight) for weight in weights]
        failed = functions.mlpmixer_mlp_backward(
            *call.which,
            ctx.options.layer_norm_epsilon,
            _addresses(weights),
            values.data_ptr(),
            gradient.data_ptr(),
            _addresses(kept),
            own.data_ptr(),
            _addresses(gradients),
            torch.get_num_threads(),
        )
        _check(failed, values)
        return own, None, *gradients


class _Call:
    """What both directions tell the library first."""

    def __init__(self, options: MlpOptions, values: Tensor, weights: Sequence[Tensor]) -> None:
        images, tokens, channels = values.shape
        outer = tokens if options.across == "tokens" else channels
        hidden = len(weights[3])
        expected = [(channels,), (channels,), (hidden, outer), (hidden,), (outer, hidden), (outer,)]
        shapes = [tuple(weight.shape) for weight in weights]
        if shapes != expected:
            raise ValueError(f"weights of shapes {shapes}: expected {expected}")
        for tensor in (values, *weights):
            if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
                raise ValueError(f"{tensor.dtype} on {tensor.device}: float32 on the CPU expected")
        form = ("tanh", "erf").index(options.gelu)
        sizes = (ctypes.c_int64 * 6)(images, tokens, channels, hidden, form, options.residual)
        number = PRECISIONS.index(options.precision)
        self.which = (options.level.encode(), number, options.across == "tokens", sizes)


def _addresses(tensors: Sequence[Tensor]) -> Any:
    return (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))


def _check(failed: int, values: Tensor) -> None:
    if failed:
        raise MixerError(f"not enough memory to train on {len(values)} images at a time.")
