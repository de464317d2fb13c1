"""What every data source gives: labelled, still encoded images with random access, by split.

Light to import: the declarations of the sources rest on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


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

    def name(self, index: int) -> str:
        """Return the path or key of an image, for messages."""
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
