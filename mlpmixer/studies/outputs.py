"""What every study leaves in its folder: one table, one summary, one page."""

from collections.abc import Mapping
from typing import Any

from mlpmixer.files import write_bytes, write_json
from mlpmixer.report.page import FigurePage, csv_file, write_page
from mlpmixer.studies.grid import Grid

PAGE = "index.html"


def write_outputs(grid: Grid, page: FigurePage, summary: Mapping[str, Any]) -> None:
    """Write results.csv with a row a finished cell, summary.json, and the page.

    Raises:
        MixerError: a file cannot be written.
    """
    rows = grid.rows()
    names = [name for name, value in rows[0].items() if not isinstance(value, list | dict)]
    table = csv_file("results", {name: [row[name] for row in rows] for name in names})
    write_bytes(grid.out / table.name, table.content)
    write_json(grid.out / "summary.json", {**summary, "cells": rows})
    write_page(grid.out / PAGE, page)


def progress_note(grid: Grid) -> str:
    """Say how much of the grid there is, "" where all of it."""
    done, total = len(grid.results()), len(grid.cells)
    return "" if done == total else f"{done} of {total} cells are finished; the others are missing."
