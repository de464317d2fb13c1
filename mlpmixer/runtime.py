"""Where a model runs and in which precision, checked against what the machine has."""

import ctypes
import os
import platform
import re
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from mlpmixer.cores import idle_cores
from mlpmixer.errors import UsageError
from mlpmixer.ranks import ALONE, Ranks

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>


@dataclass(frozen=True)
class Runtime:
    """Where work runs: made once in a command, and passed on to all that computes.

    Raises UsageError in `choose` where the machine lacks what is asked for.
    """

    device: torch.device
    """Where models and batches lie."""
    precision: torch.dtype = torch.float32
    """Type of the matrix products."""
    ranks: Ranks = ALONE
    """Which process this is of those that share the work."""

    @classmethod
    def choose(cls, device: str = "auto", precision: str = "auto", ranks: Ranks = ALONE) -> Self:
        """Return the runtime for `--device` and `--precision`; of several ranks each has a GPU.

        In a command, PyTorch's threads are limited to the cores that other programs left idle
        while it started, unless OMP_NUM_THREADS says how many there are.

        Raises:
            UsageError: no such device, or it lacks the precision; there are fewer GPUs than ranks.
        """
        place = _own_gpu(choose_device(device), ranks)
        leave_busy_cores()
        return cls(place, choose_precision(precision, place), ranks)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which matrix products run in the precision."""
        return autocast(self.device, self.precision)

    def place(self, tensor: Tensor) -> Tensor:
        """Return the tensor on the device; from pinned memory it is copied in the background."""
        return tensor.to(self.device, non_blocking=True)

    def synchronize(self) -> None:
        """Wait until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def leave_busy_cores() -> None:
    """Let PyTorch use the cores that other programs left idle since the command began.

    OMP_NUM_THREADS, where it is set, decides alone; outside a command nothing changes.
    """
    idle = None if os.environ.get("OMP_NUM_THREADS") else idle_cores()
    if idle is not None and idle < torch.get_num_threads():
        torch.set_num_threads(idle)


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, for its next step.

    By default glibc gives large blocks back to the system and asks for them anew in every step;
    each page is then cleared and mapped again, a good part of a training step's time on a
    CPU. Elsewhere than on Linux with glibc nothing is done.
    """
    if platform.system() == "Linux" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; "auto" takes a GPU where there is one.

    Raises:
        UsageError: no such device, or not on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device {name!r}: use auto, cpu, cuda or cuda:N.") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise UsageError(f"device {name!r} is not here: {count} CUDA GPUs found. Use --device cpu.")
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device {name!r} is not supported: use auto, cpu, cuda or cuda:N.")
    return device


def _own_gpu(device: torch.device, ranks: Ranks) -> torch.device:
    """Return the GPU of this rank where the device is a GPU; UsageError if it has none."""
    if device.type != "cuda" or ranks.world == 1:
        return device
    if str(device) != device.type:  # it has a number
        raise UsageError(
            f"device {device} is one GPU for {ranks.world} ranks: give --device cuda, and each "
            "takes its own."
        )
    here, count = max(ranks.local_world, ranks.local_rank + 1), torch.cuda.device_count()
    if here > count:
        raise UsageError(
            f"{here} ranks on a machine with {count} CUDA GPUs: use --nproc-per-node {count}, or "
            "--device cpu."
        )
    own = torch.device("cuda", ranks.local_rank)
    torch.cuda.set_device(own)
    return own


def has_bfloat16(device: torch.device) -> bool:
    """Tell whether the hardware has instructions that multiply bfloat16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))


def multiplies_bfloat16(device: torch.device) -> bool:
    """Tell whether the hardware itself multiplies bfloat16, and faster than float32.

    AVX512_BF16 alone does not mean it: a Zen 4 is twice as fast in bfloat16, an Intel Xeon without
    AMX about half as fast. A CPU is therefore timed, once, for some hundredths of a second.
    """
    return has_bfloat16(device) and (device.type == "cuda" or _is_faster_in_bfloat16())


@cache
def _is_faster_in_bfloat16(side: int = 512, repetitions: int = 7) -> bool:
    seconds = []
    for kind in (torch.float32, torch.bfloat16):
        matrix = torch.ones(side, side, dtype=kind)
        product = matrix @ matrix  # the first one prepares
        taken = []
        for _ in range(repetitions):
            begun = time.perf_counter()
            torch.mm(matrix, matrix, out=product)
            taken.append(time.perf_counter() - begun)
        seconds.append(min(taken))
    return seconds[1] < 0.9 * seconds[0]


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the type to multiply in; "auto" takes bfloat16 where it is faster than float32.

    Raises:
        UsageError: the device lacks the precision.
    """
    if name == "bfloat16" and not has_bfloat16(device):
        raise UsageError(
            f"precision bfloat16 is not in the hardware of {device_name(device)}, and slower than "
            "float32 there. Use --precision float32."
        )
    in_bfloat16 = name == "bfloat16" or (name == "auto" and multiplies_bfloat16(device))
    return torch.bfloat16 if in_bfloat16 else torch.float32


def autocast(device: torch.device, precision: torch.dtype) -> AbstractContextManager[Any]:
    """Return the context in which matrix products run in `precision`."""
    return torch.autocast(device.type, precision, enabled=precision != torch.float32)


def device_name(device: torch.device) -> str:
    """Return the device's name as its maker gives it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = torch.cpu.get_capabilities().get("cpu_name") or platform.processor()
    return f"{name} ({torch.get_num_threads()} threads)"


def peak_memory(device: torch.device) -> int:
    """Return the most memory used so far in bytes: of the GPU, or of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if platform.system() == "Linux":
        # getrusage would tell at least the memory of the process that started this one.
        status = Path("/proc/self/status").read_text()
        found = re.search(r"^VmHWM:\s*(\d+) kB$", status, flags=re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def machine(device: torch.device) -> dict[str, str]:
    """Return what a reader of a result must know of the machine and the software."""
    return {
        "device": device_name(device),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
