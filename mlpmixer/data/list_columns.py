"""Label columns of tables that may hold a list of classes for each image."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mlpmixer.data.columns import class_labels, is_list
from mlpmixer.data.label_sets import SplitLabels, by_image
from mlpmixer.errors import UsageError


def split_labels(
    columns: Mapping[str, pa.ChunkedArray], class_names: tuple[str, ...] | None, spec: str
) -> tuple[tuple[str, ...], dict[str, SplitLabels]]:
    """Return the class names, and the labels of each split that is labelled.

    As `class_labels`, and of columns of lists all labels of each image.

    Raises UsageError where it does, and where a list is empty or has an empty place.
    """
    flat, counts = {}, {}
    for split, column in columns.items():
        flat[split], counts[split] = _flat(column, split, spec)
    names, classes = class_labels(flat, class_names, spec)
    return names, by_image(classes, {split: counts[split] for split in classes})


def _flat(
    column: pa.ChunkedArray, split: str, spec: str
) -> tuple[pa.ChunkedArray, npt.NDArray[np.int64]]:
    """Return all labels of a column (M,), and how many each image has, (N,)."""
    if not is_list(column.type):
        return column, np.ones(len(column), dtype=np.int64)
    counts = pc.list_value_length(column).fill_null(0).to_numpy().astype(np.int64)
    if not counts.any():  # as a column that is null throughout
        return pa.chunked_array([pa.nulls(len(column))]), counts
    values = pa.chunked_array([pc.list_flatten(chunk) for chunk in column.chunks])
    if not counts.all():
        raise UsageError(
            f"{spec} has {(counts == 0).sum():,} of {len(counts):,} {split} images without label: "
            "label or remove them."
        )
    if values.null_count and values.null_count < len(values):
        raise UsageError(
            f"{spec} has {split} images with an empty place in their list of labels: remove it."
        )
    return values, counts
