"""Processes that share a prediction, as torchrun starts them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch.distributed as dist

from mlpmixer.errors import UsageError

_LONGEST_WAIT = timedelta(days=7)  # for the slowest process


@dataclass(frozen=True)
class SharedWork:
    """Which of the processes this one is."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    """Its number among those on this machine."""

    @property
    def leads(self) -> bool:
        """Whether this process writes the outcome and talks."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes have come here."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def shared_work() -> Iterator[SharedWork]:
    """Yield which process this is, by the variables that torchrun sets; alone without them.

    Raises UsageError where the variables are no numbers.
    """
    try:
        rank, world, local = (
            int(os.environ.get(name) or default)
            for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
        )
    except ValueError as error:
        raise UsageError(f"RANK, WORLD_SIZE and LOCAL_RANK are whole numbers: {error}.") from None
    if world == 1:
        yield SharedWork()
        return
    dist.init_process_group("gloo", timeout=_LONGEST_WAIT)
    try:
        yield SharedWork(rank, world, local)
    finally:
        dist.destroy_process_group()
