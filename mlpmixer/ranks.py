"""Processes that share one piece of work, as torchrun or Slurm starts them: which one is this?

The answer comes from the variables that torchrun sets, and from nowhere else. What the processes
tell each other beside gradients goes through the CPU (gloo): it is little, and nobody has to wait
for a GPU.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from mlpmixer.errors import EndedElsewhere, MixerError, UsageError, first_line

T = TypeVar("T")

_LONGEST_WAIT = timedelta(days=7)  # for the slowest process
_TALKERS = ("gloo", "nccl", "connection")  # one of them is in the errors of lost connections
_VARIABLES = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}


@dataclass(frozen=True)
class Ranks:
    """Which of the processes this one is. Alone, no method waits or sends anything."""

    rank: int = 0
    world: int = 1
    """How many processes share the work."""
    local_rank: int = 0
    """Its number among those on this machine."""
    local_world: int = 1
    """How many of them run on this machine."""

    @classmethod
    def of_environment(cls) -> "Ranks":
        """Return which process this is, by the variables that torchrun sets; alone without them.

        Raises:
            UsageError: the variables are no numbers, or contradict each other.
        """
        try:
            numbers = [int(os.environ.get(name) or usual) for name, usual in _VARIABLES.items()]
        except ValueError as error:
            names = ", ".join(_VARIABLES)
            raise UsageError(f"{names} are whole numbers: {error}.") from None
        ranks = cls(*numbers)
        if not (0 <= ranks.rank < ranks.world and 0 <= ranks.local_rank <= ranks.rank):
            raise UsageError(
                f"RANK={ranks.rank}, LOCAL_RANK={ranks.local_rank} and WORLD_SIZE={ranks.world} do "
                "not go together: let torchrun set them."
            )
        return ranks

    @property
    def leads(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    @property
    def own(self) -> slice:
        """What this process takes of a batch, or of a list of batches: every `world`-th."""
        return slice(self.rank, None, self.world)

    def wait(self) -> None:
        """Wait until all processes have come here."""
        self.gather(None)

    def gather(self, value: T) -> list[T]:
        """Return what each process gave, in the order of their ranks, on all of them."""
        if self.world == 1:
            return [value]
        import torch.distributed as dist

        given: list[T | None] = [None] * self.world
        with ended_elsewhere():
            dist.all_gather_object(given, value)
        return given  # type: ignore[return-value]

    def from_lead(self, make: Callable[[], T]) -> T:
        """Return on all processes what `make` returns on the leading one, where alone it is called.

        Raises:
            MixerError: it did on the leading one.
        """
        if self.world == 1:
            return make()
        import torch.distributed as dist

        made: list[object] = [None]
        with self.together():
            if self.leads:
                made = [make()]
        with ended_elsewhere():
            dist.broadcast_object_list(made, src=0)
        return made[0]  # type: ignore[return-value]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Let an error of one process inside the block be one of all, which the leading one tells.

        The block must not wait for other processes.

        Raises:
            MixerError: on one process, of the block's own; on the leading one, what another met;
                EndedElsewhere on all others.
        """
        own: MixerError | None = None
        try:
            yield
        except MixerError as error:
            if self.world == 1:
                raise
            own = error
        if self.world == 1:
            return
        told = self.gather(None if own is None else (str(own), own.exit_status))
        failed = [(rank, one) for rank, one in enumerate(told) if one is not None]
        if not failed:
            return
        if not self.leads:
            raise EndedElsewhere(failed[0][1][1])
        if own is not None:
            raise own
        rank, (text, status) = failed[0]
        kind = UsageError if status == UsageError.exit_status else MixerError
        raise kind(f"rank {rank}: {text}")

    def agree(self, seconds: float, wish: int) -> tuple[float, int]:
        """Return the leading process's `seconds`, and the largest `wish` of all, on all.

        Args:
            seconds: on the own clock.
            wish: 0 for none, or the number of a signal to stop.
        """
        if self.world == 1:
            return seconds, wish
        import torch
        import torch.distributed as dist

        shared = torch.tensor([seconds if self.leads else 0.0, wish], dtype=torch.float64)
        with ended_elsewhere():
            dist.all_reduce(shared, dist.ReduceOp.MAX)
        return float(shared[0]), int(shared[1])

    def mean(self, values: list[float]) -> list[float]:
        """Return the mean over all processes of each value."""
        if self.world == 1:
            return values
        columns = zip(*self.gather(values), strict=True)
        return [sum(column) / self.world for column in columns]


ALONE = Ranks()


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """Yield which process this is, able to talk to the others while the block runs.

    What lies on GPUs goes from one to the other, by NCCL.

    Raises:
        UsageError: torchrun's variables are missing in part, or wrong.
        MixerError: the other processes cannot be found.
    """
    ranks = Ranks.of_environment()
    if ranks.world == 1:
        yield ALONE
        return
    import torch
    import torch.distributed as dist

    on_gpus = torch.cuda.is_available() and dist.is_nccl_available()
    backend = "cpu:gloo,cuda:nccl" if on_gpus else "gloo"
    try:
        dist.init_process_group(backend, timeout=_LONGEST_WAIT)
    except (RuntimeError, ValueError) as error:
        raise MixerError(
            f"the {ranks.world} processes cannot find each other: {first_line(error)}. "
            "Start them by torchrun."
        ) from error
    try:
        yield ranks
    except BaseException:
        if not on_gpus:  # NCCL would wait for the others, who may wait for this one
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()


@contextmanager
def ended_elsewhere() -> Iterator[None]:
    """Word the error of talking to a process that has ended."""
    try:
        yield
    except RuntimeError as error:
        if any(name in str(error).lower() for name in _TALKERS):
            raise EndedElsewhere() from error
        raise
