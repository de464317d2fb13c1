"""The native kernels' source files, so that a library built from others is not used."""

import hashlib
from pathlib import Path


def source_files(folder: Path) -> list[Path]:
    """Return the C++ files of a folder in order."""
    return sorted(file for file in folder.iterdir() if file.suffix in (".h", ".cpp"))


def source_digest(folder: Path) -> str:
    """Return a key of 16 hexadecimal digits that changes with any of the folder's C++ files."""
    digest = hashlib.sha256()
    for file in source_files(folder):
        digest.update(f"{file.name}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
