"""Foreign layouts of a Mixer's weights: one file each, found by listing this folder.

A file here is called as `export` and `--layout` name it, and declares `LAYOUT`. The names are known
without importing PyTorch.
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING

from mlpmixer.errors import unknown_name

if TYPE_CHECKING:
    from mlpmixer.weights.layout import Layout


def layout_names() -> list[str]:
    """Return the names of all foreign layouts, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def find_layout(name: str) -> "Layout":
    """Return the layout of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in layout_names():
        raise unknown_name("layout", name, layout_names())
    layout: Layout = importlib.import_module(f"{__name__}.{name}").LAYOUT
    return layout
