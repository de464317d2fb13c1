"""Where downloads and indexes are kept between runs, and how files are written there."""

import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


def data_home() -> Path:
    """Return the folder for downloads and indexes: $MLPMIXER_DATA, or ~/.cache/mlpmixer."""
    chosen = os.environ.get("MLPMIXER_DATA")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "mlpmixer"


def fingerprint(paths: Iterable[Path]) -> str:
    """Return a key that changes when one of the files is moved, resized or written again."""
    digest = hashlib.sha256()
    for path in paths:
        status = path.stat()
        digest.update(f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:32]


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Give a path to write to, which becomes `target` when all went well, else is removed.

    It lies beside `target` and ends in its name, so that the suffix still tells the format.
    """
    part = target.with_name(f".{uuid.uuid4().hex[:8]}-{target.name}")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
