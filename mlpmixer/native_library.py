"""Libraries that the package builds in C++: found, loaded, and told from those of other sources."""

import ctypes
import hashlib
import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REBUILD = "install the package again (`pip install -e .` in a checkout) to build it"

Signatures = Mapping[str, tuple[list[Any], Any]]
"""Of each function its arguments and its result, as ctypes has them."""


@dataclass(frozen=True)
class Library:
    """The loaded library, or why there is none."""

    functions: ctypes.CDLL | None
    """None where it cannot be used."""
    reason: str = ""
    """Why not, and what to do: one line."""


def load(
    module: str, what: str, signatures: Signatures, digest: str, sources: Sequence[Path]
) -> Library:
    """Load a library; one that was built from other sources than those beside it is refused.

    Args:
        module: where it lies, as if it were a module of this package.
        what: what it is called in messages, with "is" or "are".
        signatures: of the functions that are called.
        digest: which of them returns the `source_digest` that it was built from.
        sources: its C++ files; they need not be there, as in a package that was installed.
    """
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        return Library(None, f"{what} not built: {REBUILD}")
    try:
        functions = ctypes.CDLL(found.origin)
        for name, (arguments, result) in signatures.items():
            function = getattr(functions, name)
            function.argtypes, function.restype = arguments, result
    except (OSError, AttributeError) as error:
        return Library(None, f"{what} not loaded: {error}; {REBUILD}")
    there = all(file.is_file() for file in sources)
    if there and getattr(functions, digest)().decode() != source_digest(sources):
        return Library(None, f"{what} not built from the sources here: {REBUILD}")
    return Library(functions)


def source_files(folder: Path) -> list[Path]:
    """Return the C++ files of a folder in order."""
    return sorted(file for file in folder.iterdir() if file.suffix in (".h", ".cpp"))


def source_digest(files: Iterable[Path]) -> str:
    """Return a key of 16 hexadecimal digits that changes with any of the files."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
