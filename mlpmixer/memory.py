"""How much memory is free: on a GPU, or for this process on the machine, limits of containers in.

A container's or a batch job's limit is that of its control group; `man 7 cgroups` describes both
versions of these.
"""

import os
import re
from pathlib import Path

import torch

from mlpmixer.runtime import peak_memory

_UNLIMITED = 1 << 60
"""Version 1 of control groups writes a number of this kind where there is no limit."""


def free_memory(device: torch.device) -> int:
    """Return the bytes that are free on a GPU, or on the machine for this process on a CPU."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + kept  # PyTorch gives again what it keeps
    found = [_available(Path("/proc/meminfo")), left_by_limits()]
    return min((one for one in found if one is not None), default=_physical())


def left_by_limits(
    membership: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> int | None:
    """Return the bytes that the limits of this process's control groups leave; None without limits.

    What the system keeps of files and can give up counts as free.

    Args:
        membership: says in which groups the process is.
        root: where the system shows the groups.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # not Linux
        return None
    found: list[int] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            names = ("memory.max", "memory.current", "inactive_file")
            top = root
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            top = root / "memory"
        else:
            continue
        group = top / path.lstrip("/")
        above = [one for one in (group, *group.parents) if one.is_relative_to(top)]
        found += [left for one in above if (left := _left(one, *names)) is not None]
    return min(found, default=None)


def _left(folder: Path, limit: str, usage: str, reclaimable: str) -> int | None:
    try:
        most = int((folder / limit).read_text())
        used = int((folder / usage).read_text())
        kept = re.search(rf"^{reclaimable} (\d+)$", (folder / "memory.stat").read_text(), re.M)
    except (OSError, ValueError):  # no such group from here, or no limit: "max"
        return None
    if most >= _UNLIMITED:
        return None
    return max(0, most - used + (int(kept[1]) if kept else 0))


def _available(meminfo: Path) -> int | None:
    try:
        found = re.search(r"^MemAvailable:\s*(\d+) kB$", meminfo.read_text(), re.M)
    except OSError:  # not Linux
        return None
    return int(found[1]) * 1024 if found else None


def _physical() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def used_memory(device: torch.device) -> int | None:
    """Return the bytes that this process uses now, on the GPU or in all; None where unknown."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    try:
        found = re.search(r"^VmRSS:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.M)
    except OSError:  # not Linux
        return None
    return int(found[1]) * 1024 if found else None


def forget_peak(device: torch.device) -> bool:
    """Let `runtime.peak_memory` begin anew, at what is used now; tells whether that was possible.

    On a CPU it takes Linux (`man 5 proc_pid_clear_refs`).
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    before = peak_memory(device)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not Linux, or not allowed
        return False
    return peak_memory(device) <= before
