"""How a part of a picture becomes a training image: one resize, in C++ where that is built."""

import ctypes
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from mlpmixer.native_library import Library, load

_SIGNATURES = {
    "mlpmixer_resize_digest": ([], ctypes.c_char_p),
    "mlpmixer_resize": (
        [ctypes.c_void_p, ctypes.c_int64, *[ctypes.c_int] * 6, ctypes.c_void_p],
        ctypes.c_int,
    ),
}
with_vectors: bool = True
"""Whether the resize in C++ uses the processor's vectors; who compares it turns them off."""


@cache
def native_resize() -> Library:
    """Load the resize in C++, once."""
    return load(
        "mlpmixer.data._resize",
        "the native resize is",
        _SIGNATURES,
        digest="mlpmixer_resize_digest",
        sources=[Path(__file__).parent / "native" / "resize.cpp"],
    )


def resized(part: Tensor, flip: bool, size: tuple[int, int], out: Tensor | None = None) -> Tensor:
    """Resize a part of a picture to `size` (H, W), and mirror it if `flip`.

    Bilinear interpolation, with the filter widened where the picture shrinks, so that fine texture
    is averaged and not aliased: to one grey level what Pillow's resize with BILINEAR computes.
    `part` uint8 (3, h, w) on the CPU, best with channels last in memory, as decoders deliver them.
    Returns uint8 (3, H, W): `out`, where that is given, which is contiguous and on the CPU.

    Raises:
        ValueError: `out` is not.
        MemoryError: memory is short.
    """
    if out is None:
        out = torch.empty(3, *size, dtype=torch.uint8, device="cpu")
    found = (out.device.type, out.dtype, out.shape, out.is_contiguous())
    if found != ("cpu", torch.uint8, (3, *size), True):
        raise ValueError(
            f"{out.dtype} {tuple(out.shape)} in strides {out.stride()} on {out.device}: "
            f"contiguous uint8 {(3, *size)} on the CPU expected"
        )
    functions = native_resize().functions
    if functions is None:
        return out.copy_(resized_by_torch(part, flip, size))
    if part.stride()[::2] != (1, 3):  # else one pixel does not follow the other
        part = part[None].contiguous(memory_format=torch.channels_last)[0]
    height, width = part.shape[1:]
    if functions.mlpmixer_resize(
        *(part.data_ptr(), part.stride(1), width, height),
        *(size[1], size[0], flip, not with_vectors, out.data_ptr()),
    ):
        raise MemoryError
    return out


def resized_by_torch(part: Tensor, flip: bool, size: tuple[int, int]) -> Tensor:
    """Do the same with PyTorch, to one grey level: it rounds between the two directions."""
    # Else the resampling gathers rows that are far apart: the copy saves a third of its time.
    pixels = part[None].contiguous(memory_format=torch.channels_last)
    pixels = functional.interpolate(pixels, size, mode="bilinear", antialias=True)[0]
    return pixels.flip(2) if flip else pixels
