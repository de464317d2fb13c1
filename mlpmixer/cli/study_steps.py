"""What all studies do, one step after the other, and what they show on the way."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from mlpmixer.cli.study_options import StudyOptions
from mlpmixer.cli.table import print_table
from mlpmixer.errors import MixerError, UsageError

if TYPE_CHECKING:
    from mlpmixer.run.console import Console
    from mlpmixer.runtime import Runtime
    from mlpmixer.studies.grid import Grid
    from mlpmixer.studies.outputs import StudyReport


class Study(Protocol):
    """An experiment that consists of trainings."""

    @property
    def runtime(self) -> "Runtime":
        """Where they compute."""

    def grid(self, out: Path) -> "Grid":
        """Return its cells, with their results in the folder `out`."""

    def check(self) -> None:
        """Raise UsageError where a part of it cannot be done."""

    def estimate(self) -> Mapping[str, float]:
        """Return about how many seconds the trainings of each cell take, by the cell's name."""


StudyType = TypeVar("StudyType", bound=Study)


def carry_out(
    study: StudyType,
    options: StudyOptions,
    report: "Callable[[StudyType, Grid, Mapping[str, str]], StudyReport]",
    name: str,
    arguments: Sequence[str],
    show_plan: "Callable[[StudyType, Grid, Console, int], None] | None" = None,
) -> int:
    """Check a study, plan or compute what is missing of it, and report; returns the exit status.

    Args:
        study: what to do.
        options: how.
        report: writes the study's outputs; the mapping is the page's commands.
        name: of the study, as on the command line.
        arguments: those that the study was called with.
        show_plan: shows what is to be done, and about how long it takes, with so many cells at a
            time; by default every cell of the grid.
    """
    from mlpmixer.run.console import Console

    console = Console.choose(options.json)
    grid = study.grid(options.out)
    grid.missing()  # damaged or foreign results are named before the work
    study.check()
    if options.dry_run:
        (show_plan or _print_plan)(study, grid, console, options.jobs or 1)
        return 0
    command = shlex.join(["mixer", "study", name, *arguments])
    commands = {"Run this study; what is there already is kept": command}
    try:
        grid.run(console, options.jobs, study.runtime.device)
    except UsageError:  # nothing was computed; the folder may be another process's
        raise
    except (MixerError, KeyboardInterrupt):
        if grid.reportable():
            page = report(study, grid, commands).page
            console.message(f"page of what is there so far: {page}")
        raise
    _print_report(report(study, grid, commands), console)
    return 0


def _print_plan(study: Study, grid: "Grid", console: "Console", jobs: int) -> None:
    """Show every cell, whether it is done, and about how long the others take."""
    from mlpmixer.formatting import duration

    seconds = study.estimate()
    names = list(grid.cells[0].values)
    rows, records, total, missing = [], [], 0.0, 0
    for cell in grid.cells:
        done = grid.result(cell) is not None
        needed = 0.0 if done else seconds[cell.name]
        total += needed
        missing += not done
        values = [str(cell.values.get(name, "")) for name in names]
        rows.append([*values, "done" if done else "to do", duration(needed) if needed else ""])
        records.append({**cell.values, "done": done, "seconds": needed})
    record: Mapping[str, object] = {"cells": records, "seconds": total / jobs}
    footer = [
        f"{missing} of {len(rows)} cells to do: about {duration(total / jobs)} of training; "
        "reading, validating and testing come on top."
    ]
    print_table(console, record, [*names, "state", "time"], rows, footer, left=len(names) + 1)


def _print_report(report: "StudyReport", console: "Console") -> None:
    """Show what a study found, and where its page is."""
    table, page = report.table, report.page
    record = {"results": report.rows, "findings": report.findings, "page": page}
    footer = [*report.findings, f"page: {page}"]
    print_table(console, record, table.columns, table.rows, footer, left=table.names)
