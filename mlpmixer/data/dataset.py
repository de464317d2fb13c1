"""What every data source gives: labelled, still encoded images with random access, by split.

Light to import: the declarations of the sources rest on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


_KINDS = 8
"""Kinds of what was passed over that are named in a sentence."""


class Split(Protocol):
    """Labelled images that are still encoded, with random access.

    A split can be pickled, so that worker processes read from it, and read from many threads.
    """

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class indices, (N,)."""
        ...

    def __len__(self) -> int:
        """Return the number of images, N."""
        ...

    def encoded(self, index: int) -> bytes | npt.NDArray[np.uint8]:
        """Return the image file's bytes, or its pixels (H, W, 3) where the source holds pixels.

        Raises OSError where the bytes cannot be read.
        """
        ...

    def sizes(self) -> npt.NDArray[np.int64]:
        """Return the bytes of each image as it is stored, (N,), without reading it; 0: missing."""
        ...

    def name(self, index: int) -> str:
        """Return the path or key of an image, printable, for messages."""
        ...


@dataclass(frozen=True)
class Dataset:
    """A data source that has been opened."""

    spec: str
    """What the user gave to --data."""
    class_names: tuple[str, ...]
    """The name of each class, in the order of the labels."""
    splits: Mapping[str, Split]
    """Those of "train", "validation" and "test" that the source has."""
    notes: tuple[str, ...] = ()
    """What a reader should know of how the source was read, in sentences without a full stop."""
    passed_over: Mapping[str, int] = field(default_factory=dict)
    """What was found and not taken, in the plural (".txt files"), and how many of it."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """Return the notes, and what was passed over in one more."""
        if not self.passed_over:
            return self.notes
        return (*self.notes, f"passed over: {counted(self.passed_over)}")


def counted(kinds: Mapping[str, int]) -> str:
    """Return kinds of things, in the plural, with their numbers, the most frequent first."""
    by_count = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    parts = [f"{what} ({count:,})" for what, count in by_count[:_KINDS]]
    if rest := sum(count for _, count in by_count[_KINDS:]):
        parts.append(f"others ({rest:,})")
    return "; ".join(parts)
