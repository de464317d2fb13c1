"""Where downloads and indexes are kept between runs."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from mlpmixer.data.remote import RemotePath


def data_home() -> Path:
    """Return the folder for downloads and indexes: $MLPMIXER_DATA, or ~/.cache/mlpmixer."""
    chosen = os.environ.get("MLPMIXER_DATA")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "mlpmixer"


def fingerprint(paths: Iterable[Path | RemotePath], *settings: str) -> str:
    """Return a key that changes when one of the files is moved, resized or written again.

    It also changes with `settings`: what decides what is kept of the files.
    """
    digest = hashlib.sha256()
    for path in paths:
        if isinstance(path, RemotePath):
            digest.update("\0".join(map(str, (path, *path.describe(), "\n"))).encode())
            continue
        status = path.stat()
        digest.update(os.fsencode(path.resolve()))
        digest.update(f"\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    for setting in settings:
        digest.update(f"{setting}\0".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:32]
