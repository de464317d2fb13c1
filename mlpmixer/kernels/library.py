"""The library of native kernels: found, loaded, and its functions declared."""

import ctypes
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mlpmixer.kernels.sources import source_digest

REBUILD = "install the package again (`pip install -e .` in a checkout) to build it"
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
    "mlpmixer_mlp_hidden": ([ctypes.c_char_p, ctypes.c_int, _POINTER], _INTEGER),
    "mlpmixer_mlp_forward": (
        [ctypes.c_char_p, ctypes.c_int, _POINTER, ctypes.c_float, *[_POINTER] * 4, ctypes.c_int],
        ctypes.c_int,
    ),
    "mlpmixer_mlp_backward": (
        [ctypes.c_char_p, ctypes.c_int, _POINTER, ctypes.c_float, *[_POINTER] * 6, ctypes.c_int],
        ctypes.c_int,
    ),
    "mlpmixer_ceiling": ([*_LEVEL, ctypes.c_int, ctypes.c_double], ctypes.c_double),
    "mlpmixer_bandwidth": ([_INTEGER, ctypes.c_int], ctypes.c_double),
}


@dataclass(frozen=True)
class Library:
    """The loaded library, or why there is none."""

    functions: ctypes.CDLL | None
    """None where the kernels cannot be used."""
    reason: str = ""
    """Why not, and what to do: one line."""


@cache
def library() -> Library:
    """Load the library once. A library built from other sources than those beside it is refused."""
    found = importlib.util.find_spec("mlpmixer.kernels._native")
    if found is None or found.origin is None:
        return Library(None, f"the native kernels are not built: {REBUILD}")
    try:
        functions = ctypes.CDLL(found.origin)
        for name, (arguments, result) in _SIGNATURES.items():
            function = getattr(functions, name)
            function.argtypes, function.restype = arguments, result
    except (OSError, AttributeError) as error:
        return Library(None, f"the native kernels cannot be loaded: {error}; {REBUILD}")
    sources = Path(__file__).parent / "native"
    if sources.is_dir() and functions.mlpmixer_digest().decode() != source_digest(sources):
        return Library(None, f"the native kernels were built from other sources: {REBUILD}")
    return Library(functions)
