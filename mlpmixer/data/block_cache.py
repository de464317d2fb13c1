"""Blocks of files on the local disk: bounded, shared by all processes of a machine."""

import hashlib
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from filelock import FileLock

from mlpmixer.data.cache import data_home
from mlpmixer.errors import MixerError
from mlpmixer.files import replacing

LIMIT = 8_000_000_000
"""Bytes that blocks take on the disk; the oldest make room."""
_LOOKS = 64  # a process looks at what all blocks take whenever it has written a 64th of the limit
_LOCKS = 64
_THREADS = 8
_IN_MEMORY = 256_000_000  # bytes of blocks that a process brings at once, unless one has more
_ABANDONED = 3600.0  # seconds after which a block is no longer being written


class Block(Protocol):
    """A part of a file that is brought onto the disk in one go."""

    @property
    def key(self) -> str:
        """Where it comes from; changes with the file's content."""
        ...

    @property
    def source(self) -> str:
        """The file, for messages."""
        ...

    @property
    def size(self) -> int:
        """Bytes of the content, all of which may be in memory while it is written."""
        ...

    def write(self, target: Path) -> None:
        """Write the block's content; MixerError or OSError where it cannot be read."""
        ...


class BlockCache:
    """Holds blocks below `data_home`; it can be pickled, and used from many threads."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self.folder = data_home() / "blocks"
        self._written = 0

    def ensure(self, blocks: Iterable[Block]) -> None:
        """Bring blocks onto the disk, several at once; those that are there stay as they are.

        Raises MixerError where one cannot be read or written.
        """
        missing = [block for block in blocks if not self._path(block).exists()]
        if missing:
            largest = max(1, *(block.size for block in missing))
            threads = max(1, min(_THREADS, len(missing), _IN_MEMORY // largest))
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(self._bring, missing))

    def read(self, block: Block, begin: int, end: int) -> bytes | None:
        """Return bytes of a block's content; None where it is not on the disk."""
        try:
            with self._path(block).open("rb", buffering=0) as file:
                file.seek(begin)
                content: bytes = file.read(end - begin)
        except FileNotFoundError:
            return None
        return content if len(content) == end - begin else None

    def _path(self, block: Block) -> Path:
        name = hashlib.sha256(block.key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return self.folder / name[:2] / name

    def _bring(self, block: Block) -> None:
        path = self._path(block)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / f"lock-{int(path.name, 16) % _LOCKS:02}"):
                if path.exists():  # another process was first
                    return
                with replacing(path) as part:
                    block.write(part)
                    size = part.stat().st_size
            self._written += size
            if self._written >= self.limit // _LOOKS:
                self._written = 0
                self._make_room()
        except OSError as error:
            raise MixerError(
                f"cannot keep a block of {block.source} in {self.folder}: "
                f"{error.strerror or error}. Free some space, or set MLPMIXER_DATA to another "
                "folder."
            ) from error

    def _make_room(self) -> None:
        """Remove the oldest blocks while all of them take more than the limit."""
        found = []
        for path in self.folder.glob("??/*"):
            try:
                status = path.stat()
            except FileNotFoundError:  # another process has made room
                continue
            if not path.name.startswith("."):
                found.append((status.st_mtime_ns, status.st_size, path))
            elif time.time() - status.st_mtime > _ABANDONED:  # its process was killed
                path.unlink(missing_ok=True)
        taken = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if taken <= self.limit:
                break
            path.unlink(missing_ok=True)
            taken -= size
