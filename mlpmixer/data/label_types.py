"""The labels of several files as one column: of one type that holds all, with one list of names."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from mlpmixer.data.columns import holds_labels, is_text
from mlpmixer.data.remote import RemotePath
from mlpmixer.errors import UsageError


def joined_labels(
    files: Sequence[Path | RemotePath], parts: Sequence[pa.ChunkedArray]
) -> pa.ChunkedArray:
    """Return the labels (N,) of all `files`, of which each has one of the `parts`, one or more.

    Whole numbers are widened, and a file without any label takes the type of the others.
    Raises UsageError where two files have types that do not go together, such as numbers and text.
    """
    kind = _common_type(files, [part.type for part in parts])
    columns = [_as_type(part, kind, file) for file, part in zip(files, parts, strict=True)]
    return pa.chunked_array([chunk for column in columns for chunk in column.chunks], kind)


def common_names(
    files: Sequence[Path | RemotePath], names: Sequence[Sequence[str] | None]
) -> tuple[str, ...] | None:
    """Return the class names for the numbers in all `files`, of which each has `names` or None.

    Files may name the first of the classes alone. Raises UsageError where two give a number
    different names.
    """
    named = [(tuple(one), file) for one, file in zip(names, files, strict=True) if one]
    if not named:
        return None
    longest, origin = max(named, key=lambda pair: len(pair[0]))
    for one, file in named:
        for number, (here, there) in enumerate(zip(one, longest, strict=False)):
            if here != there:
                raise UsageError(
                    f"the label {number} is {here!r} in {file} and {there!r} in {origin}: "
                    "write all files with the same list of class names."
                )
    return longest


def _common_type(files: Sequence[Path | RemotePath], kinds: Sequence[pa.DataType]) -> pa.DataType:
    """Return the type that holds the labels of all files."""
    common, origin = kinds[0], 0
    for number, kind in enumerate(kinds):
        wider = _wider(common, kind)
        if wider is None:
            raise UsageError(
                f"{files[origin]} has {kinds[origin]} labels and {files[number]} has {kind}: "
                "write them in one type into all files."
            )
        if wider != common:
            common, origin = wider, number
    return common


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the type that holds the labels of two types; None where there is none."""
    if one == other:
        return one
    if is_text(one) and is_text(other):
        return pa.large_string()
    schemas = [pa.schema([("label", kind)]) for kind in (one, other)]
    try:
        both = pa.unify_schemas(schemas, promote_options="permissive").field("label").type
    except pa.ArrowException:
        return None
    return both if holds_labels(both) else None


def _as_type(part: pa.ChunkedArray, kind: pa.DataType, file: Path | RemotePath) -> pa.ChunkedArray:
    try:
        return part.cast(kind)
    except pa.ArrowException as error:
        raise UsageError(
            f"{file} has {part.type} labels that do not fit {kind}, as other files need it: "
            f"{str(error).splitlines()[0]}. Write them in one type into all files."
        ) from error
