"""The paths that images had before they were written into a table, which often keeps them."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from mlpmixer.data.dataset import Split
from mlpmixer.data.relabelled import Relabelled
from mlpmixer.data.splits import Subset


@runtime_checkable
class KeepsPaths(Protocol):
    """A split of a table."""

    def stored_paths(self) -> Sequence[str | None]:
        """Return the path of each image, (N,); None where there is none."""
        ...


def stored_paths(split: Split) -> Sequence[str | None]:
    """Return the path that each image of a split once had, (N,); None where none is kept."""
    if isinstance(split, Relabelled):
        return stored_paths(split.split)
    if isinstance(split, Subset):
        paths = stored_paths(split.split)
        return [paths[index] for index in split.indices]
    return split.stored_paths() if isinstance(split, KeepsPaths) else [None] * len(split)
