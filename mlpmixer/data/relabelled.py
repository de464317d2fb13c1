"""A split whose labels are a model's logits, not the classes of its own data."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from mlpmixer.data.blocks import blocks_in, prepare, spread_of
from mlpmixer.data.class_positions import class_positions
from mlpmixer.data.dataset import Split
from mlpmixer.data.label_sets import label_sets_of
from mlpmixer.data.stream_order import Blocks, ShuffleWindow
from mlpmixer.errors import UsageError
from mlpmixer.formatting import counted


class Relabelled:
    """A split with its labels in the order of the model's classes.

    They are matched by name, in the one form that all names have when they are printed.

    Raises:
        UsageError: a class of the data is unknown to the model.
    """

    def __init__(
        self, split: Split, names: Sequence[str], model_names: Sequence[str], source: str
    ) -> None:
        positions, unknown = class_positions(model_names, names)
        if unknown:
            shown = ", ".join(map(repr, unknown[:3]))
            raise UsageError(
                f"{source} has {counted(len(unknown), 'class', 'classes')} that the model does not "
                f"know: {shown}. "
                f"It knows {', '.join(map(repr, model_names[:5]))}"
                f"{', …' if len(model_names) > 5 else ''}."
            )
        self.split = split
        self._table = np.array(positions, dtype=np.int64)
        self._labels: NDArray[np.int64] = self._table[split.labels]
        sets = label_sets_of(split)
        self.label_sets = None if sets is None else sets.renumbered(self._table)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class indices of the model, (N,)."""
        return self._labels

    def renumbered(self, label_sets: Sequence[Sequence[int]]) -> list[list[int]]:
        """Return sets of the data's class indices as sets of the model's.

        Raises:
            UsageError: an index is outside the data's classes.
        """
        largest = max((label for labels in label_sets for label in labels), default=0)
        if largest >= len(self._table):
            raise UsageError(
                f"the label sets have the class {largest}, outside the {len(self._table)} classes "
                f"of the data (0 to {len(self._table) - 1})."
            )
        return [self._table[list(labels)].tolist() for labels in label_sets]

    def __len__(self) -> int:
        return len(self.split)

    @property
    def blocks(self) -> Blocks | None:
        """Those of the underlying split."""
        return blocks_in(self.split)

    @property
    def spread(self) -> ShuffleWindow:
        """That of the underlying split."""
        return spread_of(self.split)

    def prepare(self, indices: Iterable[int]) -> None:
        """Have some images at hand, where the underlying split is read in blocks."""
        prepare(self.split, indices)

    def sizes(self) -> NDArray[np.int64]:
        """Return the bytes of each image, (N,)."""
        return self.split.sizes()

    def encoded(self, index: int) -> bytes | NDArray[np.uint8]:
        """Return the image's bytes or pixels as the underlying split holds them."""
        return self.split.encoded(index)

    def name(self, index: int) -> str:
        """Return the image's name in the underlying split."""
        return self.split.name(index)
