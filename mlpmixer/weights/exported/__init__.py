"""Files for other runtimes, as `mixer export` writes them: one reader each, found by listing.

A file here declares `READER`, or nothing where the readers share it.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlpmixer.weights.exported.model import ExportedModel

START = 512
"""Bytes from the beginning of a file that tell what it is."""


@dataclass(frozen=True)
class Reader:
    """Reads one kind of file."""

    matches: Callable[[Path, bytes], bool]
    """Tells from a file and its first bytes whether it is of this kind."""
    read: Callable[[Path, bool], "ExportedModel"]
    """Reads it; the flag says whether native code in it may be run."""


def readers() -> list[Reader]:
    """Return what the modules of this package declare, in the order of their names."""
    names = (module.name for module in pkgutil.iter_modules(__path__, f"{__name__}."))
    found = (getattr(importlib.import_module(name), "READER", None) for name in names)
    return [reader for reader in found if reader is not None]


def find_reader(path: Path) -> Reader | None:
    """Return what reads a file for another runtime; None where it is no such file."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        start = file.read(START)
    return next((reader for reader in readers() if reader.matches(path, start)), None)
