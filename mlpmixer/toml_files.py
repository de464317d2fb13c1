"""TOML files that a user names: one that comes with the package, or one by its path."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlpmixer.errors import UsageError, unknown_name


def find_toml(name: str, kind: str, included: Mapping[str, Path]) -> Path:
    """Return the included file of that name, or the path that the name is.

    Args:
        name: as a user gave it; one that ends in .toml or has a "/" is a path.
        kind: what the file holds, for the error: "recipe".
        included: the files that come with the package, by name.

    Raises:
        UsageError: it is neither.
    """
    if name in included:
        return included[name]
    if name.endswith(".toml") or "/" in name:
        return Path(name)
    raise unknown_name(kind, name, included, "Or give a path that ends in .toml.")


def read_toml(path: Path, kind: str) -> dict[str, Any]:
    """Return what a TOML file holds.

    Args:
        path: the file.
        kind: what it is to hold, for the errors: "recipe".

    Raises:
        UsageError: the file is missing, cannot be read, or is no TOML in UTF-8.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no {kind} file {str(path)!r}.") from None
    except IsADirectoryError:
        raise UsageError(f"{path} is a folder: give a TOML file.") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not a TOML file: {error}.") from None
