"""Blocks of remote files on the local disk: bounded, shared by all processes of a machine."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from mlpmixer.data.cache import data_home
from mlpmixer.data.remote import RemotePath
from mlpmixer.errors import MixerError
from mlpmixer.files import replacing

LIMIT = 8_000_000_000
"""Bytes that blocks take on the disk; the oldest make room."""
_LOOK_EVERY = 32  # blocks that a process writes between two looks at what all of them take
_LOCKS = 64
_THREADS = 8


class Block(NamedTuple):
    """A range of bytes of a remote file."""

    file: RemotePath
    mark: str
    """Changes with the file's content."""
    begin: int
    end: int


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
            with ThreadPoolExecutor(min(_THREADS, len(missing))) as pool:
                list(pool.map(self._bring, missing))

    def read(self, block: Block, begin: int, end: int) -> bytes:
        """Return bytes of the file within a block: from the disk if it is there, else from afar."""
        try:
            with self._path(block).open("rb", buffering=0) as file:
                file.seek(begin - block.begin)
                content: bytes = file.read(end - begin)
        except FileNotFoundError:
            content = b""
        return content if len(content) == end - begin else block.file.read(begin, end)

    def _path(self, block: Block) -> Path:
        key = f"{block.file}\0{block.mark}\0{block.begin}\0{block.end}"
        name = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return self.folder / name[:2] / name

    def _bring(self, block: Block) -> None:
        path = self._path(block)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / f"lock-{int(path.name, 16) % _LOCKS:02}"):
                if path.exists():  # another process was first
                    return
                content = block.file.read(block.begin, block.end)
                with replacing(path) as part:
                    part.write_bytes(content)
            self._written += 1
            if self._written % _LOOK_EVERY == 0:
                self._make_room()
        except OSError as error:
            raise MixerError(
                f"cannot keep a block of {block.file} in {self.folder}: "
                f"{error.strerror or error}. Free some space, or set MLPMIXER_DATA to another "
                "folder."
            ) from error

    def _make_room(self) -> None:
        """Remove the oldest blocks while all of them take more than the limit."""
        found = []
        for path in self.folder.glob("??/[!.]*"):
            try:
                status = path.stat()
            except FileNotFoundError:  # another process has made room
                continue
            found.append((status.st_mtime_ns, status.st_size, path))
        taken = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if taken <= self.limit:
                break
            path.unlink(missing_ok=True)
            taken -= size
