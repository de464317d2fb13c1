"""What this machine can do at most, measured: products over registers alone, and memory."""

from functools import cache

import torch

from mlpmixer.errors import MixerError
from mlpmixer.kernels.library import library
from mlpmixer.kernels.native import PRECISIONS, Precision, levels_here
from mlpmixer.memory import free_memory

LARGER_THAN_CACHES = 256 << 20
"""Bytes that each thread reads, where that is no more than a quarter of what is free in all."""


def arithmetic(precision: Precision) -> Precision:
    """Return the precision that products are computed in where this one is enough.

    bfloat16 is computed in float32, which is more exact, where it is not faster: without an
    instruction for it, and on Intel's processors that have AVX512_BF16 but not AMX.
    """
    levels = levels_here(precision)
    if precision != "bfloat16" or not levels:
        return precision
    instruction = levels[0].endswith("_bf16") or levels[0] == "amx"
    faster = instruction and _is_faster(levels[0], levels_here("float32")[0])
    return "bfloat16" if faster else "float32"


@cache
def _is_faster(bfloat16_level: str, float32_level: str) -> bool:
    rate = _rate(bfloat16_level, "bfloat16", threads=1, seconds=0.01)
    return rate > _rate(float32_level, "float32", threads=1, seconds=0.01)


def product_ceiling(
    precision: Precision, threads: int | None = None, seconds: float = 0.25
) -> float:
    """Return the operations a second of the best level's products with all operands in registers.

    A multiplication and an addition are two operations. No product of matrices can be faster. For
    bfloat16 it is the ceiling of the arithmetic in which it is computed.

    Args:
        precision: of the operands.
        threads: how many compute at once; None: as many as PyTorch uses.
        seconds: how long to measure; the best of three counts.

    Raises:
        MixerError: there are no native kernels here, and why.
    """
    levels = levels_here(precision)
    if library().functions is None or not levels:
        raise MixerError(library().reason or f"no level can compute in {precision} here.")
    if (computed := arithmetic(precision)) != precision:
        return product_ceiling(computed, threads, seconds)
    return _rate(levels[0], precision, threads or torch.get_num_threads(), seconds)


def _rate(level: str, precision: Precision, threads: int, seconds: float) -> float:
    functions = library().functions
    assert functions is not None  # there is a level
    number = PRECISIONS.index(precision)
    return max(
        float(functions.mlpmixer_ceiling(level.encode(), number, threads, seconds / 3))
        for _ in range(3)
    )


def read_bandwidth(threads: int | None = None) -> float:
    """Return the bytes a second that threads read from memory at once; the best of three.

    Args:
        threads: how many; None: as many as PyTorch uses.

    Raises:
        MixerError: there are no native kernels here, or not enough memory.
    """
    functions = library().functions
    if functions is None:
        raise MixerError(library().reason)
    threads = threads or torch.get_num_threads()
    each = min(LARGER_THAN_CACHES, free_memory(torch.device("cpu")) // 4 // threads)
    least = LARGER_THAN_CACHES // 4
    enough = each >= least
    rate = max(functions.mlpmixer_bandwidth(each, threads) for _ in range(3)) if enough else 0
    if not rate:
        raise MixerError(
            f"not enough memory to measure its speed: {threads} times {least >> 20} MB are needed, "
            "in a quarter of what is free."
        )
    return float(rate)
