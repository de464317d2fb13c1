"""How many cores this process may use: those that other programs leave idle.

PyTorch's threads wait for each other by spinning. Two processes that both spin on all cores take
each other's place all the time, and each step of both then takes many times as long
(docs/decisions.md). So a command looks, while it starts, at what the others leave.
"""

import os
import time
from pathlib import Path

SHORTEST_LOOK = 0.3
"""Seconds; the counters of the system are too coarse for less."""


SPINS = 10_000
"""How often a thread of PyTorch looks for work before it sleeps."""


def wait_briefly() -> None:
    """Let PyTorch's threads sleep after a short wait; it has to be said before PyTorch is loaded.

    By default GNU's OpenMP spins 300,000 times, on cores that other threads want: those of the
    native kernels above all. What the user's environment says of it stays.
    https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))


class CoreWatch:
    """Watches, from when it is made, how busy other programs keep the machine.

    Args:
        counters: the system's counters of processor time, as Linux has them. Where there are none,
            all cores count as idle.
    """

    def __init__(self, counters: Path = Path("/proc/stat")) -> None:
        self._counters = counters
        self._begun = time.monotonic()
        self._before = self._seconds_of_others()

    def idle_cores(self) -> int | None:
        """Return how many cores the other programs left idle, at least 1; None if unknown."""
        elapsed = time.monotonic() - self._begun
        now = self._seconds_of_others()
        if elapsed < SHORTEST_LOOK or now is None or self._before is None:
            return None
        cores = os.cpu_count() or 1
        return max(1, round(cores - (now - self._before) / elapsed))

    def _seconds_of_others(self) -> float | None:
        """Return the processor time that all programs but this one took since the system began."""
        try:
            line = self._counters.read_text().partition("\n")[0]
        except OSError:  # not Linux, or hidden in a container
            return None
        name, *counts = line.split()
        if name != "cpu" or len(counts) < 8:
            return None
        user, nice, system, _, _, interrupts, soft_interrupts, stolen = map(int, counts[:8])
        busy = user + nice + system + interrupts + soft_interrupts + stolen
        mine = os.times()
        ticks = os.sysconf("SC_CLK_TCK")
        return busy / ticks - (mine.user + mine.system + mine.children_user + mine.children_system)


_watch: CoreWatch | None = None


def start_watching() -> None:
    """Begin to watch the machine for `idle_cores`; a command does so first of all."""
    global _watch
    _watch = CoreWatch()


def idle_cores() -> int | None:
    """Return how many cores others left idle since `start_watching`; None if that is unknown."""
    return None if _watch is None else _watch.idle_cores()
