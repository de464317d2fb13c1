"""Files that lie on a web server or in a bucket: named like paths, read by ranges, with patience.

What fails for a moment is asked for again; what stays away is named. fsspec knows the protocols.
"""

import importlib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from mlpmixer.errors import MixerError, UsageError

logger = logging.getLogger(__name__)

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds to wait before each further attempt."""
STALL = 20.0
"""Seconds without a byte after which an attempt has failed."""
_COPY = ".copy-"  # how the names of copies begin, so that those of killed processes are known
_ABANDONED = 3600.0  # seconds without a byte after which a copy belongs to a killed process
_PIECE = 16 << 20  # bytes asked for at a time where a whole file is read
_MISSING = (404, 410)
_REFUSED = (401, 403, 416)
_MARKS = (
    *("ETag", "etag", "LastModified", "mtime", "md5"),
    *("Content-MD5", "Digest", "Last-Modified"),  # as web servers that send no ETag call theirs
)
"""Where fsspec's clients keep what changes with a file's content, the most telling first."""
_T = TypeVar("_T")

_unmarked: set["RemotePath"] = set()
"""Folders of which it has been said that their files have no marks."""


_clients: list[Any] = []
"""All that there were. fsspec forgets in a forked process those that the one before had; were they
closed there, the answers to that one would stay unnoticed until it gives up waiting: they share the
system's list of what to watch (epoll)."""


class _Short(OSError):
    """Fewer bytes came than were asked for."""


@dataclass(frozen=True, order=True)
class RemotePath:
    """A file below a URL such as ``https://host/shards/train-000.tar`` or ``s3://bucket/a.tar``."""

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> "RemotePath":
        return RemotePath(f"{self.url.rstrip('/')}/{name}")

    @property
    def name(self) -> str:
        """Return what stands behind the last slash."""
        return PurePosixPath(self.url.partition("?")[0]).name

    @property
    def stem(self) -> str:
        """Return the name without its last ending."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """Return the last ending of the name."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> "RemotePath":
        """Return the folder."""
        return RemotePath(self.url.partition("?")[0].rpartition("/")[0])

    def describe(self) -> tuple[int, str]:
        """Return the size in bytes, and a mark that changes with the content.

        Without any mark, which is said once for each folder, it is empty.
        Raises UsageError where the file is missing or refused, MixerError where nobody answers.
        """
        info = _patiently(self.url, lambda: _files(self.url).info(self.url))
        size = info.get("size")
        if size is None:
            raise UsageError(
                f"{self.url} has no known size: its server has to answer Content-Length and ranges."
            )
        mark = next((info[key] for key in _MARKS if info.get(key)), None)
        if mark is None:
            _remark_unmarked(self.parent)
        return int(size), str(mark or "")

    def exists(self) -> bool:
        """Tell whether there is such a file; raises MixerError where nobody answers."""
        try:
            self.describe()
        except UsageError:
            return False
        return True

    def read(self, begin: int, end: int) -> bytes:
        """Return the bytes from `begin` to before `end`.

        Raises UsageError where they are refused, MixerError where they cannot be fetched.
        """
        if end <= begin:
            return b""

        def attempt() -> bytes:
            content: bytes = _files(self.url).cat_file(self.url, start=begin, end=end)
            if len(content) > end - begin:
                raise UsageError(
                    f"the server of {self.url} does not answer ranges of bytes: use one that does, "
                    "or download the files first."
                )
            if len(content) < end - begin:
                raise _Short(f"{len(content):,} of {end - begin:,} bytes came")
            return content

        return _patiently(self.url, attempt)

    def read_bytes(self) -> bytes:
        """Return all of a small file."""
        return self.read(0, self.describe()[0])

    @contextmanager
    def copied(self, folder: Path) -> Iterator[Path]:
        """Give a copy in `folder` while the context lasts; those of killed processes are removed.

        Raises UsageError where the file is missing or refused, MixerError where it stays away.
        """
        size, _ = self.describe()
        folder.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder)
        handle, name = tempfile.mkstemp(prefix=_COPY, suffix=self.suffix, dir=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                for begin in range(0, size, _PIECE):
                    file.write(self.read(begin, min(size, begin + _PIECE)))
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)


def is_remote(spec: str) -> bool:
    """Tell whether a data source is given by a URL."""
    return "://" in spec


def expand_url(spec: str) -> list[RemotePath]:
    """Return the files that a URL with {000..127} or {a,b} stands for, each of which must exist.

    Raises UsageError where one is missing or refused.
    """
    from braceexpand import braceexpand

    try:
        files = [RemotePath(url) for url in braceexpand(spec)]
    except ValueError as error:
        raise UsageError(f"{spec} has a brace without its partner: {error}.") from error
    for file in files:
        file.describe()
    return files


def _remove_abandoned(folder: Path) -> None:
    """Remove the copies in a folder whose processes were killed."""
    for path in folder.glob(f"{_COPY}*"):
        with suppress(OSError):  # another process has removed it, or it is another user's
            if time.time() - path.stat().st_mtime > _ABANDONED:
                path.unlink()


def _remark_unmarked(folder: RemotePath) -> None:
    """Say once that changes of the files in a folder may go unnoticed."""
    if folder not in _unmarked:
        _unmarked.add(folder)
        logger.warning(
            "the server of %s gives its files neither ETag nor Last-Modified: one that changes and "
            "keeps its size is not read anew. Give changed files another name.",
            folder,
        )


def _files(url: str) -> Any:
    """Return fsspec's file system for a URL; one for each process, which fsspec sees to."""
    import fsspec  # type: ignore[import-untyped]

    protocol = url.partition("://")[0]
    options: dict[str, Any] = {}
    try:
        if protocol in ("http", "https"):
            import aiohttp

            limits = aiohttp.ClientTimeout(total=None, sock_connect=STALL, sock_read=STALL)
            options["client_kwargs"] = {"timeout": limits}
        elif protocol in ("s3", "s3a"):
            options["config_kwargs"] = {
                "connect_timeout": STALL,
                "read_timeout": STALL,
                "retries": {"max_attempts": 1},
            }
            if endpoint := os.environ.get("AWS_ENDPOINT_URL"):
                options["endpoint_url"] = endpoint
        client = fsspec.filesystem(protocol, **options)
    except ImportError as error:
        raise UsageError(
            f"{url} needs a package that is not here ({error}): "
            "`pip install 'mlpmixer[remote]'` brings those for http and s3."
        ) from error
    except ValueError as error:
        raise UsageError(f"{url}: {error}.") from error
    if client not in _clients:
        _clients.append(client)
    return client


def _patiently(url: str, attempt: Callable[[], _T]) -> _T:
    """Return what `attempt` returns, tried again after each of PAUSES while it fails."""
    for pause in (*PAUSES, None):
        try:
            return attempt()
        except _client_errors() as error:
            cause = error.__cause__ if isinstance(error.__cause__, _client_errors()) else error
            reason = f"{type(cause).__name__}: {cause}".rstrip(": ").splitlines()[0]
            if (why := _for_good(cause)) is not None:
                raise UsageError(
                    f"{url} {why} ({reason}). Check the address, the numbers between braces and "
                    "your credentials."
                ) from error
            if pause is None:
                raise MixerError(
                    f"{url} could not be read in {len(PAUSES) + 1} attempts ({reason}). "
                    "Resume once its server answers."
                ) from error
            logger.debug("%s: %s; again in %s s", url, reason, pause)
            time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def _for_good(error: BaseException) -> str | None:
    """Return what an error says of a file that will not come later either; else None."""
    status = getattr(error, "status", None)
    if isinstance(error, FileNotFoundError) or status in _MISSING:
        return "is not there"
    return "is refused" if isinstance(error, PermissionError) or status in _REFUSED else None


def _client_errors() -> tuple[type[Exception], ...]:
    """Return what the clients of web servers and buckets raise."""
    found: list[type[Exception]] = [OSError]
    for module, name in (("aiohttp", "ClientError"), ("botocore.exceptions", "BotoCoreError")):
        if module.partition(".")[0] in sys.modules:  # else it has raised nothing
            found.append(getattr(importlib.import_module(module), name))
    return tuple(found)
