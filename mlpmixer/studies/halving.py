"""Successive halving: many candidates for a short time, the best of them for longer.

Jamieson and Talwalkar, https://arxiv.org/abs/1502.07943, section 3. In each rung all candidates
that are left get the same budget; the best ones go on to the next rung, with a budget that is as
many times larger as they are fewer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from mlpmixer.errors import MixerError
from mlpmixer.formatting import counted
from mlpmixer.run.console import Console
from mlpmixer.studies.grid import CPU, Cell, CellsFailed, Grid


@dataclass(frozen=True)
class Rung:
    """A round of trainings with one budget."""

    candidates: int
    """How many of the candidates it takes."""
    share: float
    """Of the whole budget, in (0, 1]."""


def plan_rungs(candidates: int, factor: int, most: int) -> tuple[Rung, ...]:
    """Return the rungs for that many candidates; the last has the whole budget, and two or more.

    Args:
        candidates: at least one.
        factor: how many times fewer candidates, and more budget, each rung has than the one before.
        most: rungs, at least one.
    """
    counts = [candidates]
    while len(counts) < most:
        fewer = -(-counts[-1] // factor)
        if fewer < 2 or fewer == counts[-1]:
            break
        counts.append(fewer)
    last = len(counts) - 1
    return tuple(Rung(count, float(factor) ** (n - last)) for n, count in enumerate(counts))


CellsOf = Callable[[str, int], Sequence[Cell]]
"""From a candidate's name and a rung's number to its trainings, one a seed."""


class Halving(Grid):
    """The trainings of a search, of which those of a rung are known when the one before is done.

    Args:
        out: the study's folder.
        rungs: of `plan_rungs`.
        names: of the candidates, as many as the first rung takes.
        cells_of: makes a candidate's trainings.
        measure: the name of the number in their results that is to be large.
        always: a candidate that goes on to every rung, beside the best ones, to compare with.

    Raises:
        UsageError: `out` is a file, or a stored result was computed with other settings.
        MixerError: a stored result is damaged.
    """

    def __init__(
        self,
        out: Path,
        rungs: Sequence[Rung],
        names: Sequence[str],
        cells_of: CellsOf,
        measure: str,
        always: str,
    ) -> None:
        self.rungs = tuple(rungs)
        self.names = tuple(names)
        self.measure = measure
        self.always = always
        self.failures: dict[str, str] = {}
        """Why candidates failed, by name, as far as this process met it."""
        self.cells_of = cache(cells_of)
        self._results: dict[str, dict[str, Any]] = {}
        super().__init__(out, [cell for name in names for cell in cells_of(name, 0)])
        self._decide()

    def result(self, cell: Cell) -> dict[str, Any] | None:
        """Return a cell's stored result, read once; see `Grid.result`."""
        if cell.name not in self._results:
            result = super().result(cell)
            if result is None:
                return None
            self._results[cell.name] = result
        return self._results[cell.name]

    def members(self, rung: int) -> tuple[str, ...]:
        """Return the candidates of a rung, by number from 0; () where that is not decided yet."""
        if rung == 0:
            return self.names
        if not self.complete(rung - 1):
            return ()
        ranked = self.ranking(rung - 1)
        best = ranked[: self.rungs[rung].candidates]
        return tuple(
            name for name in self.names if name in best or (name == self.always and name in ranked)
        )

    def complete(self, rung: int) -> bool:
        """Tell whether all candidates of a rung have gone through it, or failed."""
        members = self.members(rung)
        left = [name for name in members if self.accuracies(name, rung) is None]
        return bool(members) and all(name in self.failures for name in left)

    def ranking(self, rung: int) -> list[str]:
        """Return those candidates of a rung whose trainings are all done, the best first."""
        means = {
            name: fmean(found)
            for name in self.members(rung)
            if (found := self.accuracies(name, rung)) is not None
        }
        return sorted(means, key=lambda name: -means[name])

    def accuracies(self, name: str, rung: int) -> list[float] | None:
        """Return what a candidate reached in a rung, by seed; None where a training is missing."""
        found = self.found(name, rung)
        return [one[self.measure] for one in found] if found else None

    def found(self, name: str, rung: int) -> list[dict[str, Any]]:
        """Return a candidate's results in a rung, by seed; [] where a training is missing."""
        results = [self.result(cell) for cell in self.cells_of(name, rung)]
        return [one for one in results if one is not None] if all(results) else []

    @property
    def told(self) -> int:
        """How many rungs say something: those that are complete, or the first as far as it is."""
        return max(1, sum(map(self.complete, range(len(self.rungs)))))

    def reached(self) -> dict[str, int]:
        """Return the last of the `told` rungs that each candidate has gone through, if it has."""
        return {name: rung for rung in range(self.told) for name in self.ranking(rung)}

    def reportable(self) -> bool:
        """Tell whether a candidate has gone through a rung."""
        return bool(self.reached())

    @property
    def finished(self) -> bool:
        """Whether all rungs are complete."""
        return self.told == len(self.rungs) and self.complete(self.told - 1)

    def run(self, console: Console, jobs: int | None = None, device: torch.device = CPU) -> None:
        """Compute what is missing, rung by rung. A candidate that fails is left out from there on.

        The arguments are those of `Grid.run`.

        Raises:
            UsageError: another process is at work in the folder.
            MixerError: a stored result is damaged; or all candidates of a rung failed.
            KeyboardInterrupt: it was interrupted; what was reached is kept.
        """
        for rung, planned in enumerate(self.rungs):
            self._decide()
            members = self.members(rung)
            owner = {cell.name: name for name in members for cell in self.cells_of(name, rung)}
            console.message(
                f"rung {rung + 1} of {len(self.rungs)}: {counted(len(members), 'candidate')}, "
                f"{planned.share:.0%} of the budget"
            )
            try:
                own = [cell for name in members for cell in self.cells_of(name, rung)]
                Grid(self.out, own).run(console, jobs, device)
            except CellsFailed as error:
                for cell, reason in error.reasons.items():
                    self.failures.setdefault(owner[cell], str(reason))
            if not self.ranking(rung):
                name, why = next(iter(self.failures.items()))
                raise MixerError(f"all {len(members)} candidates failed; {name}: {why}")
        self._decide()

    def _decide(self) -> None:
        """Take in the cells of all rungs that are decided."""
        self.cells = tuple(
            cell
            for rung in range(len(self.rungs))
            for name in self.members(rung)
            for cell in self.cells_of(name, rung)
        )
