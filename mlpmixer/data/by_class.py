"""The images of each class, found in one pass however many classes there are."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt


def indices_by_class(
    labels: npt.NDArray[np.int64],
) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Yield each label that occurs in `labels` (N,), ascending, with its indices, ascending."""
    order = np.argsort(labels, kind="stable")
    changes = np.flatnonzero(np.diff(labels[order])) + 1
    for indices in np.split(order, changes):
        if len(indices):  # no images are one empty part
            yield int(labels[indices[0]]), indices
