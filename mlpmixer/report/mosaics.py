"""Many small pictures side by side, pixel by pixel: all hidden units of a layer, all filters.

A mosaic is an image of whole pixels. Browsers, viewers and print enlarge it without smoothing, so
it stays small however many tiles it has.
"""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

_GAP = 1  # pixels between tiles; two between pairs
_LEVELS = 63  # shades to each side of zero
_CLEAR = 2 * _LEVELS + 1  # the palette's entry for the gaps
_ENLARGED = 1600  # pixels, about: the width of a mosaic as a file
_LARGEST_MAGNIFICATION = 16


Room = tuple[int, int]
"""Width and height in pixels of the screen."""


@dataclass(frozen=True)
class Mosaic:
    """Tiles in rows, in an image with transparent gaps."""

    image: Image.Image
    tile: tuple[int, int]
    """Height and width of a tile in pixels."""
    columns: int
    paired: bool
    """Whether two tiles each stand closer together."""
    magnification: int
    """How many pixels of the screen a pixel of the mosaic takes on a page."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height on a page, in pixels of the screen."""
        return self.image.width * self.magnification, self.image.height * self.magnification

    def png(self) -> bytes:
        """Return it as PNG, a pixel for each weight."""
        return _png(self.image)

    def shown_png(self) -> bytes:
        """Return it as PNG, magnified to the pixels of the screen that it takes on a page."""
        return _png(self.image.resize(self.size, Image.Resampling.NEAREST))

    def enlarged_png(self) -> bytes:
        """Return it as PNG, magnified by a whole number to a size for slides and print."""
        factor = max(1, round(_ENLARGED / self.image.width))
        size = self.image.width * factor, self.image.height * factor
        return _png(self.image.resize(size, Image.Resampling.NEAREST))

    def svg(self) -> str:
        """Return it as SVG that any program enlarges without smoothing."""
        width, height = self.size
        uri = f"data:image/png;base64,{base64.b64encode(self.png()).decode()}"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {self.image.width} {self.image.height}">'
            f'<image width="{self.image.width}" height="{self.image.height}" href="{uri}" '
            'style="image-rendering:pixelated"/></svg>'
        )

    def labelled(self, labels: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        """Return where the tiles lie, with what is known of each, for the page's viewer.

        `labels` gives the name of a quantity its values, one for each tile in order.
        """
        return {
            "tile": [self.tile[1], self.tile[0]],
            "gap": _GAP,
            "columns": self.columns,
            "paired": self.paired,
            "labels": {
                name: [
                    round(float(value), 3) if values.dtype.kind == "f" else int(value)
                    for value in values
                ]
                for name, values in labels.items()
            },
        }


def unit_mosaic(units: NDArray[np.floating], room: Room) -> Mosaic:
    """Draw weights on the patch grid, two by two: red is positive, blue negative, white zero.

    Args:
        units: (N, h, w), pairs in succession; each is scaled by its own largest weight.
        room: width and height in pixels of the screen that there are for it.
    """
    scale = np.maximum(np.abs(units).max(axis=(1, 2), keepdims=True), 1e-12)
    levels = (units / scale * _LEVELS).round().astype(np.int16) + _LEVELS  # 0 … 126
    mosaic = _mosaic(levels.astype(np.uint8), room, paired=True, clear=_CLEAR)
    shades = colormaps["RdBu_r"](np.linspace(0, 1, 2 * _LEVELS + 1))[:, :3]
    mosaic.image.putpalette((shades * 255).round().astype(np.uint8).tobytes() + b"\xff\xff\xff")
    return mosaic


def filter_mosaic(filters: NDArray[np.floating], room: Room) -> Mosaic:
    """Draw colour filters (N, P, P, 3), each scaled by its own largest weight; grey is zero.

    `room` is the width and height in pixels of the screen that there are for it.
    """
    pixels = (filter_colours(filters) * 255).round().astype(np.uint8)
    opaque = np.full((*pixels.shape[:3], 1), 255, dtype=np.uint8)
    return _mosaic(np.concatenate([pixels, opaque], axis=3), room, paired=False, clear=0)


def filter_colours(filters: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return weights (N, P, P, 3) as colours in [0, 1] around mid-grey, each by its largest."""
    scale = np.maximum(np.abs(filters).max(axis=(1, 2, 3), keepdims=True), 1e-12)
    return 0.5 + 0.5 * filters / scale


def unit_colours(units: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return weights (N, h, w) as colours (N, h, w, 3) in [0, 1] around white."""
    scale = np.maximum(np.abs(units).max(axis=(1, 2), keepdims=True), 1e-12)
    colours: NDArray[np.floating] = colormaps["RdBu_r"](0.5 + 0.5 * units / scale)[..., :3]
    return colours


def tile_up(
    tiles: NDArray[Any], columns: int, *, gap: int, pair_gap: int, clear: int
) -> NDArray[Any]:
    """Return tiles (N, h, w, …) as one image (H, W, …), row by row.

    `gap` pixels of the value `clear` stand between tiles, `pair_gap` more after every second one.
    """
    count, height, width = tiles.shape[:3]
    rows = -(-count // columns)
    extent = (rows - 1) * (height + gap) + height, _left(columns - 1, width, gap, pair_gap) + width
    image = np.full((*extent, *tiles.shape[3:]), clear, dtype=tiles.dtype)
    for index, tile in enumerate(tiles):
        top, left = index // columns * (height + gap), _left(index % columns, width, gap, pair_gap)
        image[top : top + height, left : left + width] = tile
    return image


def _left(column: int, width: int, gap: int, pair_gap: int) -> int:
    return column * (width + gap) + column // 2 * pair_gap


def _mosaic(tiles: NDArray[np.uint8], room: Room, *, paired: bool, clear: int) -> Mosaic:
    count, height, width = tiles.shape[:3]
    columns, magnification = _layout(count, height, width, room, paired)
    pair_gap = _GAP if paired else 0
    image = tile_up(tiles, columns, gap=_GAP, pair_gap=pair_gap, clear=clear)
    mode = "P" if image.ndim == 2 else "RGBA"
    picture = Image.frombytes(mode, (image.shape[1], image.shape[0]), image.tobytes())
    return Mosaic(picture, (height, width), columns, paired, magnification)


def _layout(count: int, height: int, width: int, room: Room, paired: bool) -> tuple[int, int]:
    """Return the columns, and the largest magnification at which the mosaic fits into the room.

    Where none does, the mosaic is as wide as the room and as high as it has to be.
    """
    step = 2 if paired else 1
    pitch = step * (width + _GAP) + (_GAP if paired else 0)  # of a tile, or of a pair
    columns = 1
    for magnification in range(_LARGEST_MAGNIFICATION, 0, -1):
        columns = max(1, (room[0] // magnification + _GAP) // pitch) * step
        columns = min(columns, count + count % step)
        rows = -(-count // columns)
        if rows * (height + _GAP) * magnification <= room[1]:
            return columns, magnification
    return columns, 1


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    if image.mode == "P":
        image.save(buffer, "PNG", transparency=_CLEAR, optimize=True)
    else:
        image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
