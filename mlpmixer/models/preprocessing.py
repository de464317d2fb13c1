"""The contract between pictures and a model's input; it is saved with the weights.

There is one place for the range of the input, and it is fixed: every model here takes [-1, 1].
Foreign weights may expect other numbers. A Mixer keeps those in `MixerConfig.input_mean` and
`input_std`, and converts inside the network, so that no caller has to know of them.
"""

from dataclasses import asdict, dataclass
from typing import ClassVar, Literal, get_args

from mlpmixer.errors import UsageError, unknown_name

Resampling = Literal["bilinear", "bicubic"]
SixteenBit = Literal["full", "range"]


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a picture becomes a model's input, so that everybody who uses the weights does the same.

    A picture that has the image size is used whole. Of any other, the largest central box of the
    input's aspect ratio is taken, shrunk to `crop_share` of its sides, and resized.

    Raises UsageError where a value is outside its range.
    """

    image_size: tuple[int, int]
    """Height and width of the input in pixels."""
    crop_share: float = 7 / 8
    """Share of the largest central box's sides that is kept, in (0, 1]: 224 cut from 256."""
    resampling: Resampling = "bilinear"
    """Interpolation, with the filter widened where the picture shrinks."""
    sixteen_bit: SixteenBit = "full"
    """How values of 16 bits become 8: full: all 65,536 of them evenly; range: those between a
    picture's smallest and largest, for sensors of 10, 12 or 14 bits."""
    mean: ClassVar[tuple[float, ...]] = (0.5,)
    """Subtracted from pixels in [0, 1]."""
    std: ClassVar[tuple[float, ...]] = (0.5,)
    """What the difference is divided by: pixels become numbers in [-1, 1]."""

    def to_json(self) -> dict[str, object]:
        """Return everything as plain values, for whoever prepares pictures by other means."""
        return {**asdict(self), "mean": self.mean, "std": self.std}

    def __post_init__(self) -> None:
        if not 0 < self.crop_share <= 1:
            raise UsageError(f"crop share {self.crop_share} is outside (0, 1].")
        if self.resampling not in get_args(Resampling):
            raise unknown_name("resampling", self.resampling, get_args(Resampling))
        if self.sixteen_bit not in get_args(SixteenBit):
            raise unknown_name("sixteen-bit", self.sixteen_bit, get_args(SixteenBit))
