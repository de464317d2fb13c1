"""What every study leaves in its folder: one table, one summary, one page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from mlpmixer.files import write_bytes, write_json
from mlpmixer.formatting import counted, percent
from mlpmixer.report.figure_page import FigurePage, Table, csv_file, write_page
from mlpmixer.studies.grid import Grid
from mlpmixer.training.recipe import ScheduleOptions

PAGE = "index.html"


@dataclass(frozen=True)
class StudyReport:
    """What a study found, for those who read it on the terminal or as JSON."""

    rows: Sequence[Mapping[str, Any]]
    """The table's numbers as they are, and more than it shows."""
    table: Table
    findings: tuple[str, ...]
    """What the numbers say, in sentences."""
    page: Path


def write_outputs(grid: Grid, page: FigurePage, summary: Mapping[str, Any]) -> Path:
    """Write results.csv with a row a finished cell, summary.json, and the page; returns its path.

    Raises:
        MixerError: a file cannot be written.
    """
    rows = grid.rows()
    names = [name for name, value in rows[0].items() if not isinstance(value, list | dict)]
    table = csv_file("results", {name: [row[name] for row in rows] for name in names})
    write_bytes(grid.out / table.name, table.content)
    write_json(grid.out / "summary.json", {**summary, "cells": rows})
    write_page(grid.out / PAGE, page)
    return grid.out / PAGE


def budget_note(schedule: ScheduleOptions) -> str:
    """Say what each training was given: "1,000 steps each"."""
    if schedule.minutes is not None:
        return f"{schedule.minutes:g} minutes each"
    if schedule.epochs is not None:
        return f"{schedule.epochs:g} epochs each"
    return f"{counted(schedule.steps or 0, 'step')} each"


def progress_note(grid: Grid) -> str:
    """Say how much of the grid there is, "" where all of it."""
    done, total = len(grid.results()), len(grid.cells)
    return "" if done == total else f"{done} of {total} cells are finished; the others are missing."


def mean_percent(shares: Sequence[float]) -> str:
    """Return the mean of shares in [0, 1], over seeds, as "66.2 %", or "66.2 ± 0.4 %" of several.

    What follows the ± is the standard deviation.
    """
    if len(shares) == 1:
        return percent(shares[0])
    return f"{percent(fmean(shares)).removesuffix(' %')} ± {percent(stdev(shares))}"
