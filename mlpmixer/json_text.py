"""JSON text that every parser accepts."""

import json
import math
from collections.abc import Mapping
from pathlib import PurePath


def json_text(value: object, *, indent: int | None = None, encoding: str | None = "utf-8") -> str:
    """Return `value` as JSON; NaN and infinities, which JSON lacks, become null.

    Takes what `json` takes, paths, and anything with `tolist` (NumPy arrays and scalars, tensors).
    Where `encoding` has not all the characters, those beyond ASCII are escaped.

    Raises:
        TypeError: for any other type.
    """
    plain = _plain(value)
    text = json.dumps(plain, indent=indent, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(encoding or "utf-8")
    except UnicodeEncodeError:  # also of bytes that are not UTF-8, in a path
        return json.dumps(plain, indent=indent, allow_nan=False)
    return text


def _plain(value: object) -> object:
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return value
