"""The library of native kernels: its functions, declared."""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

from mlpmixer.native_library import Library, load, source_files

_POINTER, _INTEGER = ctypes.c_void_p, ctypes.c_int64
_LEVEL = [ctypes.c_char_p, ctypes.c_int]  # a level's name and the number of a precision
_SIGNATURES: dict[str, tuple[list[Any], Any]] = {
    "mlpmixer_digest": ([], ctypes.c_char_p),
    "mlpmixer_level": ([ctypes.c_int], ctypes.c_char_p),
    "mlpmixer_runs": (_LEVEL, ctypes.c_int),
    "mlpmixer_tiles_missing": ([], ctypes.c_char_p),
    "mlpmixer_create": (
        [*_LEVEL, *_LEVEL, _POINTER, ctypes.c_float, _POINTER],
        _POINTER,
    ),
    "mlpmixer_destroy": ([_POINTER], None),
    "mlpmixer_forward": (
        [_POINTER, _POINTER, _POINTER, _INTEGER, ctypes.c_int, _POINTER, _POINTER, _POINTER],
        ctypes.c_int,
    ),
    "mlpmixer_gelu": ([*_LEVEL, ctypes.c_int, _POINTER, _INTEGER, _POINTER], ctypes.c_int),
    "mlpmixer_mlp_hidden": ([*_LEVEL, ctypes.c_int, _POINTER], _INTEGER),
    "mlpmixer_mlp_forward": (
        [*_LEVEL, ctypes.c_int, _POINTER, ctypes.c_float, *[_POINTER] * 4, ctypes.c_int],
        ctypes.c_int,
    ),
    "mlpmixer_mlp_backward": (
        [*_LEVEL, ctypes.c_int, _POINTER, ctypes.c_float, *[_POINTER] * 6, ctypes.c_int],
        ctypes.c_int,
    ),
    "mlpmixer_ceiling": ([*_LEVEL, ctypes.c_int, ctypes.c_double], ctypes.c_double),
    "mlpmixer_bandwidth": ([_INTEGER, ctypes.c_int], ctypes.c_double),
}


@cache
def library() -> Library:
    """Load the library once."""
    sources = Path(__file__).parent / "native"
    return load(
        "mlpmixer.kernels._native",
        "the native kernels are",
        _SIGNATURES,
        digest="mlpmixer_digest",
        sources=source_files(sources) if sources.is_dir() else [],
    )
