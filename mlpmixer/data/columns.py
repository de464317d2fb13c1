"""Which columns of a Hugging Face table hold the images and the class labels."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mlpmixer.errors import UsageError

_IMAGE_NAMES = ("image", "img", "jpg", "png", "picture")
_LABEL_NAMES = ("label", "labels", "fine_label", "class", "target", "cls")


@dataclass(frozen=True)
class Columns:
    """The columns to read."""

    image: str
    """A struct with `bytes`, or plain binary."""
    label: str
    """Integers or strings."""
    class_names: tuple[str, ...] | None
    """The names that the schema gives to the integers, if it does."""


def find_columns(schema: pa.Schema, where: str) -> Columns:
    """Return the image and the label column of a table.

    Columns that the schema's Hugging Face metadata calls Image and ClassLabel come first, then
    those with usual names ("image", "img"; "label", "fine_label") and a fitting type.
    Raises UsageError where either is missing; `where` names the table in it.
    """
    features = _features(schema)
    images = [field.name for field in schema if _holds_image(field.type)]
    labels = [
        field.name for field in schema if pa.types.is_integer(field.type) or _is_text(field.type)
    ]
    image = _choose(images, [n for n in images if _kind(features, n) == "Image"], _IMAGE_NAMES)
    label = _choose(labels, [n for n in labels if _kind(features, n) == "ClassLabel"], _LABEL_NAMES)
    present = ", ".join(f"{field.name}: {field.type}" for field in schema)
    if image is None:
        raise UsageError(
            f"{where} has no image column (a struct with `bytes`, named image). It has {present}."
        )
    if label is None:
        raise UsageError(
            f"{where} has no label column (class numbers or names, named label). It has {present}."
        )
    names = features.get(label, {}).get("names")
    return Columns(image, label, tuple(names) if names else None)


def _features(schema: pa.Schema) -> Mapping[str, Any]:
    metadata = (schema.metadata or {}).get(b"huggingface")
    if metadata is None:
        return {}
    features: Mapping[str, Any] = json.loads(metadata).get("info", {}).get("features", {})
    return features


def _kind(features: Mapping[str, Any], column: str) -> str | None:
    feature = features.get(column)
    return feature.get("_type") if isinstance(feature, dict) else None


def _holds_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _choose(fitting: list[str], declared: list[str], usual: tuple[str, ...]) -> str | None:
    for candidates in (declared, fitting):
        for name in usual:
            if name in candidates:
                return name
    return declared[0] if declared else None


def image_bytes(column: pa.Array) -> pa.Array:
    """Return the binary column inside an image column."""
    return column.field("bytes") if pa.types.is_struct(column.type) else column


def class_labels(
    columns: Mapping[str, pa.ChunkedArray], class_names: tuple[str, ...] | None, spec: str
) -> tuple[tuple[str, ...], dict[str, npt.NDArray[np.int64]]]:
    """Return the class names, and the labels (N,) of each split that is labelled.

    `columns` holds the label column of each split. Integers are class indices: where the schema
    does not name them, their names are "0" to the largest. Strings are names, sorted. A split
    without any label (all null, or -1: how the hub marks hidden test labels) is left out.
    Raises UsageError where labels are missing in part or lie outside the classes.
    """
    labelled = {split: column for split, column in columns.items() if not _unlabelled(column)}
    if not labelled:
        raise UsageError(f"{spec} has no labels: every value of the label column is empty or -1.")
    for split, column in labelled.items():
        if column.null_count:
            raise UsageError(
                f"{spec} has {column.null_count} of {len(column)} {split} images without label: "
                "label or remove them."
            )
    if all(_is_text(column.type) for column in labelled.values()):
        reference = labelled.get("train", next(iter(labelled.values())))
        names = class_names or tuple(sorted(reference.unique().to_pylist()))
        return names, {
            split: _named_labels(column.to_pylist(), names, f"the {split} images of {spec}")
            for split, column in labelled.items()
        }
    labels = {split: column.to_numpy().astype(np.int64) for split, column in labelled.items()}
    largest = max(int(values.max()) for values in labels.values())
    names = class_names or tuple(str(number) for number in range(largest + 1))
    for split, values in labels.items():
        outside = values[(values < 0) | (values >= len(names))]
        if len(outside):
            raise UsageError(
                f"{spec} has the label {outside[0]} in its {split} images, outside its "
                f"{len(names)} classes (0 to {len(names) - 1})."
            )
    return names, labels


def _unlabelled(column: pa.ChunkedArray) -> bool:
    if column.null_count == len(column):
        return True
    return bool(pa.types.is_integer(column.type) and column.unique().to_pylist() == [-1])


def _named_labels(found: list[str], names: tuple[str, ...], where: str) -> npt.NDArray[np.int64]:
    label_of = {name: label for label, name in enumerate(names)}
    unknown = next((name for name in found if name not in label_of), None)
    if unknown is not None:
        raise UsageError(f"{where} have the class {unknown!r}, unknown among the training images.")
    return np.array([label_of[name] for name in found], dtype=np.int64)
