"""Whether pictures of 16 bits use the values that they could."""

import io
from collections.abc import Mapping

import numpy as np

from mlpmixer.data.dataset import Split
from mlpmixer.data.formats import open_image
from mlpmixer.data.order import sample_in_blocks
from mlpmixer.data.picture import UnreadableImage, explained
from mlpmixer.data.sixteen_bit import is_deep, png_values, without_alpha

_SAMPLE = 32  # pictures that are looked into
_FEW_BITS = 14
"""Pictures whose values need no more bits than these are dark: at most a quarter of the range."""


def darkness(splits: Mapping[str, Split]) -> str:
    """Return a sentence where pictures of 16 bits use a small part of their range, else "".

    A sample of the first split is looked into.
    """
    split = next(iter(splits.values()))
    sample = sample_in_blocks(split, _SAMPLE)
    if sample is None:
        sample = np.unique(np.linspace(0, len(split) - 1, _SAMPLE).astype(int)).tolist()
    bits = max(_largest(split, index) for index in sample).bit_length()
    if not 0 < bits <= _FEW_BITS:
        return ""
    return (
        f"the pictures have 16 bits a value and use {bits} of them, so they are dark: "
        "--sixteen-bit range stretches each to its own range"
    )


def _largest(split: Split, index: int) -> int:
    """Return the largest value of a picture of 16 bits; 0 for others and unreadable ones."""
    try:
        with explained(split.name(index)):
            encoded = split.encoded(index)
            if not isinstance(encoded, bytes):
                return 0
            with open_image(io.BytesIO(encoded)) as image:
                if not is_deep(image):
                    return 0
                if image.format == "PNG":
                    return int(without_alpha(png_values(encoded)).max())
                image.load()
                return int(np.asarray(image).max()) if image.mode.startswith("I") else 0
    except UnreadableImage:
        return 0
