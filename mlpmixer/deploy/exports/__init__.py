"""What `mixer export` writes: one file a format, found by listing this folder.

A file here is called as `--format` names it, and declares `FORMAT`. The names are known without
importing PyTorch.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlpmixer.errors import unknown_name

if TYPE_CHECKING:
    from torch import Tensor

    from mlpmixer.models.interface import ImageModel
    from mlpmixer.weights.exported.description import Description


@dataclass(frozen=True)
class Format:
    """How one runtime stores a model."""

    suffix: str
    """What its file ends in."""
    write: Callable[["ImageModel", "Description", Path, "Tensor"], None]
    """Writes a model as the description says; the pixels (N, 3, H, W), uint8, are for int8."""
    precisions: tuple[str, ...] = ("float32",)
    triton: str | None = None
    """Triton Inference Server's name for what runs it."""
    native: bool = False
    """Whether the file holds machine code."""
    beside: tuple[str, ...] = ()
    """What the names of files that always come with it end in, in place of the suffix."""


def format_names() -> list[str]:
    """Return the names of all formats, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def find_format(name: str) -> Format:
    """Return the format of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in format_names():
        raise unknown_name("format", name, format_names())
    found: Format = importlib.import_module(f"{__name__}.{name}").FORMAT
    return found
