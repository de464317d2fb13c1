"""What a data source declares of itself, so that the command line can find and explain it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlpmixer.data.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class Source:
    """A kind of data: how one asks for it, and how it is opened.

    Every module of this package that has a `SOURCE` adds one. It is asked for by one of `names`,
    by `prefix`, by files with `suffix`, or by a folder in which `in_folder` finds its files.
    """

    help: str
    """What it is, in one line."""
    open: Callable[[str, list[Path]], Dataset]
    """Takes what the user wrote and the files that it stands for (none for names and a prefix).
    Raises UsageError and MixerError, as `open_source` says."""
    example: str = ""
    """How one writes it, where it has no names."""
    names: tuple[str, ...] = ()
    """Single words that stand for known data sets."""
    prefix: str = ""
    """What its specs begin with: "hf:"."""
    open_remote: Callable[[str], Dataset] | None = None
    """Takes a URL, where the source can be read from afar: one that ends in `suffix`, or any."""
    any_url: bool = False
    """Whether it takes the URLs that no source's `suffix` ends."""
    suffix: str = ""
    """What the names of its files end with, in lower case: ".parquet"."""
    in_folder: Callable[[Path], list[Path]] | None = None
    """Returns the files in a folder that are opened together; none where it is another source's."""
    last: bool = False
    """Whether a folder is its own only where no other source finds files in it."""

    @property
    def forms(self) -> tuple[str, ...]:
        """Return the ways to write it."""
        return self.names or (self.example,)
