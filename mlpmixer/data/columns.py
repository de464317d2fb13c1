"""Which columns of a Hugging Face table hold the images and the class labels."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mlpmixer.data.class_labels import UNLABELLED, named_classes, numbered_classes, told_apart
from mlpmixer.errors import UsageError

_IMAGE_NAMES = ("image", "img", "jpg", "png", "picture")
_PATH_NAMES = ("image_path", "file_name", "filename", "file", "filepath", "path")
_LABEL_NAMES = ("label", "labels", "fine_label", "class", "target", "cls")


@dataclass(frozen=True)
class Columns:
    """The columns to read."""

    image: str
    """A struct with `bytes` or `path`, plain binary, or text: the paths of the images."""
    label: str
    """Whole numbers, booleans or text, or lists of them."""
    class_names: tuple[str, ...] | None
    """The names that the schema gives to the numbers, if it does."""


def find_columns(schema: pa.Schema, where: str) -> Columns:
    """Return the image and the label column of a table.

    Columns that the schema's Hugging Face metadata calls Image and ClassLabel come first, then
    those with usual names ("image", "img"; "label", "fine_label") and a fitting type, then paths.
    Raises UsageError where either is missing; `where` names the table in it.
    """
    features = _features(schema)
    image = find_image_column(schema, where)
    labels = [field.name for field in schema if holds_labels(field.type)]
    labels.sort(key=lambda name: is_list(schema.field(name).type))  # one class an image is usual
    label = _choose(labels, [n for n in labels if _kind(features, n) == "ClassLabel"], _LABEL_NAMES)
    if label is None:
        named = next((name for name in _LABEL_NAMES if name in schema.names), None)
        if named is not None:
            raise UsageError(
                f"the column {named} of {where} holds {schema.field(named).type}, which is no "
                "class: labels are whole numbers, booleans, text, or a list of these."
            )
        raise UsageError(
            f"{where} has no label column (class numbers or names, named label). "
            f"It has {_present(schema)}."
        )
    return Columns(image, label, named_in(schema, label))


def named_in(schema: pa.Schema, label: str) -> tuple[str, ...] | None:
    """Return the names that a schema gives to the numbers of a label column, if it does."""
    names = _inner(_features(schema).get(label)).get("names")
    return told_apart(names) if names else None


def find_image_column(schema: pa.Schema, where: str) -> str:
    """Return the image column of a table, as `find_columns` does; labels are not asked for."""
    features = _features(schema)
    images = [field.name for field in schema if _holds_image(field.type)]
    paths = [field.name for field in schema if is_text(field.type)]
    image = _choose(images, [n for n in images if _kind(features, n) == "Image"], _IMAGE_NAMES)
    image = image or _choose(paths, [], (*_IMAGE_NAMES, *_PATH_NAMES))
    if image is None:
        raise UsageError(
            f"{where} has no image column (a struct with `bytes` or `path`, named image). "
            f"It has {_present(schema)}."
        )
    return image


def _present(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)


def _features(schema: pa.Schema) -> Mapping[str, Any]:
    metadata = (schema.metadata or {}).get(b"huggingface")
    if metadata is None:
        return {}
    features: Mapping[str, Any] = json.loads(metadata).get("info", {}).get("features", {})
    return features


def _kind(features: Mapping[str, Any], column: str) -> str | None:
    kind: str | None = _inner(features.get(column)).get("_type")
    return kind


def _inner(feature: Any) -> Mapping[str, Any]:
    """Return what the hub says of a column or, where it holds lists, of what they hold."""
    while isinstance(feature, list) and feature:
        feature = feature[0]
    found: Mapping[str, Any] = feature if isinstance(feature, dict) else {}
    return _inner(found["feature"]) if "feature" in found else found


def _holds_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(kind.get_field_index(name) >= 0 for name in ("bytes", "path"))
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def is_list(kind: pa.DataType) -> bool:
    """Tell whether a column holds lists."""
    checks = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(check(kind) for check in checks)


def holds_labels(kind: pa.DataType) -> bool:
    """Tell whether a column of this type can hold labels: numbers, booleans, text or lists."""
    if is_list(kind):
        return not is_list(kind.value_type) and holds_labels(kind.value_type)
    if pa.types.is_dictionary(kind):
        return holds_labels(kind.value_type)
    checks = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
    return is_text(kind) or pa.types.is_null(kind) or any(check(kind) for check in checks)


def is_text(kind: pa.DataType) -> bool:
    """Tell whether a column's type is text, in whichever of its layouts."""
    checks = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(check(kind) for check in checks)


def _choose(fitting: list[str], declared: list[str], usual: tuple[str, ...]) -> str | None:
    for candidates in (declared, fitting):
        for name in usual:
            if name in candidates:
                return name
    return declared[0] if declared else None


def image_bytes(column: pa.Array) -> pa.Array:
    """Return the bytes in an image column, null where it has only paths."""
    if pa.types.is_struct(column.type):
        index = column.type.get_field_index("bytes")
        column = column.field(index) if index >= 0 else pa.nulls(len(column))
    return pa.nulls(len(column), pa.binary()) if is_text(column.type) else column.cast(pa.binary())


def image_paths(column: pa.Array) -> pa.Array:
    """Return the paths in an image column, null where it has none."""
    if pa.types.is_struct(column.type):
        index = column.type.get_field_index("path")
        column = column.field(index) if index >= 0 else pa.nulls(len(column))
    text = is_text(column.type) or pa.types.is_null(column.type)
    return column.cast(pa.string()) if text else pa.nulls(len(column), pa.string())


def class_labels(
    columns: Mapping[str, pa.ChunkedArray], class_names: tuple[str, ...] | None, spec: str
) -> tuple[tuple[str, ...], dict[str, npt.NDArray[np.int64]]]:
    """Return the class names, and the labels (N,) of each split that is labelled.

    For columns that may hold lists see `mlpmixer.data.list_columns`.

    `columns` holds the label column of each split. Numbers, also whole ones stored as floats, are
    class indices or names as `numbered_classes` says; booleans are the classes false and true; text
    is names. A split without any label (all null, or -1: how the hub marks hidden test labels) is
    left out.

    Raises UsageError where labels are missing in part, are no classes or lie outside them.
    """
    plain = {split: _plain(without_dictionary(column), spec) for split, column in columns.items()}
    labelled = {split: column for split, column in plain.items() if not _unlabelled(column)}
    if not labelled:
        raise UsageError(f"{spec} has no labels: every value of the label column is empty or -1.")
    for split, column in labelled.items():
        if column.null_count:
            raise UsageError(
                f"{spec} has {column.null_count} of {len(column)} {split} images without label: "
                "label or remove them."
            )
    kinds = {str(column.type): split for split, column in labelled.items()}
    if len(kinds) > 1:
        (one, first), (other, second) = list(kinds.items())[:2]
        raise UsageError(f"{spec} has {one} labels in {first} and {other} in {second}.")
    if all(is_text(column.type) for column in labelled.values()):
        texts = {}
        for split, column in labelled.items():
            coded = column.combine_chunks().dictionary_encode()
            different = coded.dictionary.cast(pa.binary()).to_pylist()  # may be no UTF-8
            names = [name.decode(errors="surrogateescape") for name in different]
            texts[split] = (names, coded.indices.to_numpy().astype(np.int64))
        return named_classes(texts, class_names, spec)
    if class_names is None and all(pa.types.is_boolean(c.type) for c in columns.values()):
        class_names = ("false", "true")
    numbers = {split: column.to_numpy() for split, column in labelled.items()}
    return numbered_classes(numbers, class_names, spec)


def without_dictionary(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the column with its values themselves where it holds numbers of a dictionary."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _plain(column: pa.ChunkedArray, spec: str) -> pa.ChunkedArray:
    """Return labels as int64 or as text; empty text is null."""
    if is_text(column.type):
        column = column.cast(pa.string())
        return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
    if pa.types.is_floating(column.type):
        values = column.to_numpy()
        missing = np.isnan(values)
        odd = values[~missing & (values != np.floor(values))]
        if len(odd):
            raise UsageError(
                f"{spec} has the label {odd[0]:g}, which is no class: labels are whole numbers, "
                "booleans or text."
            )
        column = pa.chunked_array([pa.array(values, mask=missing)])
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"{spec} has a label that is no class number: {reason}.") from error


def _unlabelled(column: pa.ChunkedArray) -> bool:
    if column.null_count == len(column):
        return True
    return bool(pa.types.is_integer(column.type) and column.unique().to_pylist() == [UNLABELLED])
