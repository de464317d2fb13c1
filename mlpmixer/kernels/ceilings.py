"""What this machine can do at most, measured: products over registers alone, and memory."""

import torch

from mlpmixer.errors import MixerError
from mlpmixer.kernels.library import library
from mlpmixer.kernels.native import PRECISIONS, Precision, levels_here

LARGER_THAN_CACHES = 256 << 20
"""Bytes that each thread reads."""


def product_ceiling(
    precision: Precision, threads: int | None = None, seconds: float = 0.25
) -> float:
    """Return the operations a second of the best level's products with all operands in registers.

    A multiplication and an addition are two operations. No product of matrices can be faster. For
    bfloat16 without an instruction for it, it is the ceiling of float32, in which it is computed.

    Args:
        precision: of the operands.
        threads: how many compute at once; None: as many as PyTorch uses.
        seconds: how long to measure; the best of three counts.

    Raises:
        MixerError: there are no native kernels here, and why.
    """
    functions, levels = library().functions, levels_here(precision)
    if functions is None or not levels:
        raise MixerError(library().reason or f"no level can compute in {precision} here.")
    level = levels[0]
    if precision == "bfloat16" and not level.endswith("_bf16"):
        return product_ceiling("float32", threads, seconds)
    number, threads = PRECISIONS.index(precision), threads or torch.get_num_threads()
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
    rate = max(functions.mlpmixer_bandwidth(LARGER_THAN_CACHES, threads) for _ in range(3))
    if not rate:
        raise MixerError(
            f"not enough memory to measure its speed: {threads} times "
            f"{LARGER_THAN_CACHES >> 20} MB are needed."
        )
    return float(rate)
