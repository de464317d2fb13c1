"""A whole Mixer's inference by the native kernels: packed weights and one call a batch.

The levels, from the lowest to the highest, and what each needs of the processor:

    portable      nothing                     float32, bfloat16, int8
    avx2          AVX2 and FMA                float32, bfloat16 (widened to float32), int8
    avx512        AVX-512 F, BW, DQ, VL       float32
    avx512_bf16   the same and AVX512_BF16    bfloat16
    avx512_vnni   the same and AVX512_VNNI    int8
    amx           AVX512_BF16 and AMX's       bfloat16, int8
                  tiles, BF16 and INT8
    amx_emulated  nothing: AMX's tiles in     bfloat16, int8
                  plain C++, for tests alone

In bfloat16 and int8 the operands of the products have that type; sums, LayerNorm, GELU and the
residual stream are float32. int8 weights have a scale for each output; activations are quantised
to 8 bits as they come, with a scale and an offset for each row of the product (a token, or a
channel in token mixing). The head is always float32.
"""

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mlpmixer.errors import MixerError, UsageError
from mlpmixer.kernels.library import library

LEVEL_VARIABLE = "MLPMIXER_KERNEL_LEVEL"
Precision = Literal["float32", "bfloat16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "int8")


@dataclass(frozen=True, kw_only=True)
class MixerShape:
    """The shape of a Mixer, as the kernels need it."""

    image_size: tuple[int, int]
    """Height and width in pixels."""
    patch_size: int
    in_channels: int
    width: int
    depth: int
    tokens_mlp_dim: int
    channels_mlp_dim: int
    num_classes: int
    """0: no head."""
    gelu: Literal["tanh", "erf"]
    layer_norm_epsilon: float

    @property
    def num_tokens(self) -> int:
        """Number of patches S."""
        height, width = self.image_size
        return height // self.patch_size * (width // self.patch_size)

    def weight_shapes(self) -> list[tuple[int, ...]]:
        """Return the shapes of all weights in the order in which `NativeMixer` takes them.

        The stem's weight and bias; of each block the first norm's gain and shift, the token MLP's
        weights and biases, the second norm's, the channel MLP's; the last norm's; the head's.
        """
        tokens, width = self.num_tokens, self.width

        def mlp(outer: int, hidden: int) -> list[tuple[int, ...]]:
            return [(width,), (width,), (hidden, outer), (hidden,), (outer, hidden), (outer,)]

        block = mlp(tokens, self.tokens_mlp_dim) + mlp(width, self.channels_mlp_dim)
        head = [(self.num_classes, width), (self.num_classes,)] if self.num_classes else []
        stem = [(width, self.in_channels * self.patch_size**2), (width,)]
        return [*stem, *block * self.depth, (width,), (width,), *head]


EMULATED = "_emulated"
"""How the name of a level ends that stands for another one, slowly; only its name chooses it."""


def levels_here(precision: Precision, emulated: bool = False) -> list[str]:
    """Return the levels that can compute in a precision here, the highest first.

    $MLPMIXER_KERNEL_LEVEL leaves out all that are higher than the one it names.

    Args:
        precision: of the products' operands.
        emulated: whether those count that the variable alone can choose.

    Raises:
        UsageError: the variable names no level.
    """
    functions = library().functions
    if functions is None:
        return []
    names: list[str] = []
    while name := functions.mlpmixer_level(len(names)):
        names.append(name.decode())
    highest = os.environ.get(LEVEL_VARIABLE)
    if highest and highest not in names:
        raise UsageError(f"{LEVEL_VARIABLE}={highest} is no level: use one of {', '.join(names)}.")
    if highest:
        names = names[: names.index(highest) + 1]
    elif not emulated:
        names = [name for name in names if not name.endswith(EMULATED)]
    number = PRECISIONS.index(precision)
    return [name for name in reversed(names) if functions.mlpmixer_runs(name.encode(), number)]


class NativeMixer:
    """A Mixer's weights, packed for one level and precision.

    Several threads may call one of these at once, and nothing is shared between two of them.

    Args:
        shape: the Mixer's shape.
        weights: float32, in the order of `MixerShape.weight_shapes`. They are copied.
        precision: of the products' operands.
        level: see `levels_here`.

    Raises:
        UsageError: the weights do not have the shapes.
        MixerError: the level cannot run here, or memory is short.
    """

    def __init__(
        self, shape: MixerShape, weights: Sequence[Tensor], precision: Precision, level: str
    ) -> None:
        functions = library().functions
        if functions is None:
            raise MixerError(library().reason)
        shapes = [tuple(weight.shape) for weight in weights]
        if shapes != shape.weight_shapes():
            raise UsageError(f"weights of shapes {shapes}: expected {shape.weight_shapes()}.")
        head_levels = [name for name in levels_here("float32") if _not_above(name, level)]
        if level not in levels_here(precision, emulated=True) or not head_levels:
            raise MixerError(f"level {level} cannot compute in {precision} here.")
        self.shape, self.precision, self.level = shape, precision, level
        held = [weight.detach().to("cpu", torch.float32).contiguous() for weight in weights]
        addresses = (ctypes.c_void_p * (len(held) + 2))(*(weight.data_ptr() for weight in held))
        numbers = (ctypes.c_int64 * 10)(
            *shape.image_size,
            shape.patch_size,
            shape.in_channels,
            shape.width,
            shape.depth,
            shape.tokens_mlp_dim,
            shape.channels_mlp_dim,
            shape.num_classes,
            ("tanh", "erf").index(shape.gelu),
        )
        self._functions = functions
        self._handle = functions.mlpmixer_create(
            level.encode(),
            PRECISIONS.index(precision),
            head_levels[0].encode(),
            PRECISIONS.index("float32"),
            numbers,
            shape.layer_norm_epsilon,
            addresses,
        )
        if not self._handle:
            raise MixerError("not enough memory for the packed weights.")

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._functions.mlpmixer_destroy(self._handle)

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("packed weights cannot be copied or pickled: save the model they came from")

    def logits(self, images: Tensor, threads: int | None = None) -> Tensor:
        """Map images (B, in_channels, H, W) to logits (B, num_classes), pooled tokens without head.

        Any strides and any alignment will do; other types are converted to float32.

        Args:
            images: on the CPU.
            threads: how many work on the batch; None: as many as PyTorch uses.

        Raises:
            UsageError: it is called by `torch.jit.trace`.
        """
        return self._forward(images, threads, tokens=False)

    def tokens(self, images: Tensor, threads: int | None = None) -> Tensor:
        """Map images to the last LayerNorm's tokens (B, S, C)."""
        return self._forward(images, threads, tokens=True)

    def _forward(self, images: Tensor, threads: int | None, tokens: bool) -> Tensor:
        # A trace would note down where the answers lie, not what they are.
        if torch.jit.is_tracing():  # type: ignore[attr-defined]
            raise UsageError(
                "what the native kernels compute cannot be traced: trace the model that was "
                "optimized, or use `mixer export`."
            )
        shape = self.shape
        if images.shape[1:] != (shape.in_channels, *shape.image_size):
            expected = (shape.in_channels, *shape.image_size)
            raise ValueError(f"images of shape {tuple(images.shape)}: expected (B, *{expected})")
        images = images.detach().to("cpu", torch.float32)
        if images.data_ptr() % images.element_size():
            images = images.clone()  # a buffer may begin anywhere, a float may not
        batch = len(images)
        pooled = images.new_empty(batch, shape.width)
        table = images.new_empty(batch, shape.num_tokens, shape.width) if tokens else None
        logits = images.new_empty(batch, shape.num_classes)
        failed = self._functions.mlpmixer_forward(
            self._handle,
            images.data_ptr(),
            (ctypes.c_int64 * 4)(*images.stride()),
            batch,
            threads or torch.get_num_threads(),
            None if table is None else table.data_ptr(),
            pooled.data_ptr(),
            None if tokens or not shape.num_classes else logits.data_ptr(),
        )
        if failed:
            raise MixerError(f"not enough memory for a batch of {batch} images.")
        if table is not None:
            return table
        return logits if shape.num_classes else pooled


def gelu(values: Tensor, form: Literal["tanh", "erf"], precision: Precision, level: str) -> Tensor:
    """Return the GELU of float32 values (N,), as a level computes it between two products.

    Its error is at most 2e-6·max(1, |x|) in float32, and 1e-4·max(1, |x|) for bfloat16 and int8.

    Raises:
        MixerError: the level cannot run here.
    """
    functions = library().functions
    values = values.detach().to("cpu", torch.float32).contiguous()
    result = torch.empty_like(values)
    if functions is None or functions.mlpmixer_gelu(
        level.encode(),
        PRECISIONS.index(precision),
        ("tanh", "erf").index(form),
        values.data_ptr(),
        len(values),
        result.data_ptr(),
    ):
        raise MixerError(library().reason or f"level {level} cannot compute in {precision} here.")
    return result


def tiles_missing() -> str:
    """Return why the level `amx` cannot run here: some words, none where it can."""
    functions = library().functions
    return library().reason if functions is None else functions.mlpmixer_tiles_missing().decode()


def _not_above(name: str, level: str) -> bool:
    """Tell whether a level is no higher than another: AVX-512's three kinds count as one."""
    heights = ("portable", "avx2", "avx512", "amx")
    return heights.index(name.split("_")[0]) <= heights.index(level.split("_")[0])
