"""The contract between pictures and a model's input; it is saved with the weights."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a picture becomes a model's input, so that everybody who uses the weights does the same.

    A picture that has the image size is used whole. Of any other, the largest central box of the
    input's aspect ratio is taken, shrunk to `crop_share` of its sides, and resized.
    """

    image_size: tuple[int, int]
    """Height and width of the input in pixels."""
    crop_share: float = 7 / 8
    """Share of the largest central box's sides that is kept, in (0, 1]: 224 cut from 256."""
    resampling: Literal["bilinear"] = "bilinear"
    """Interpolation, with the filter widened where the picture shrinks."""
    mean: tuple[float, ...] = (0.5,)
    """Subtracted from pixels in [0, 1]."""
    std: tuple[float, ...] = (0.5,)
    """What the difference is divided by; 0.5 and 0.5 give [-1, 1], what all models here take."""
