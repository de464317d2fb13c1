"""A picture beside maps of what a prediction for it rests on."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mlpmixer.report.figure_style import MUTED, RIGHT, WIDTH, WRONG, bare, new_figure, styled
from mlpmixer.report.inspection_contents import Attribution, Floats

_STRONGEST = 0.9  # opacity
_FAINT = 0.35  # contrast of the grey picture below a map
_SHARP = 256  # pixels; smaller pictures are magnified to about it, so that none is smoothed


def attribution(shown: Attribution) -> Figure:
    """Draw the picture, then the maps over a pale grey copy of it.

    The stronger a patch, the less of the picture is seen through its colour: orange where the patch
    speaks for the prediction, blue where it speaks against it. Each map has its own scale.
    """
    height, width = shown.picture.shape[:2]
    maps = {
        "occlusion": shown.occlusion,
        "gradient × input": shown.gradient_input,
        "sensitivity": shown.sensitivity,
    }
    with styled():
        figure = new_figure(2 * WIDTH / 4 * height / width + 0.62, 2 * WIDTH)
        first, *others = figure.subplots(1, 4)
        _draw(first, shown.picture, "what the model sees")
        for axes, (title, values) in zip(others, maps.items(), strict=True):
            _draw(axes, _overlaid(shown.picture, values), title)
            axes.set_xlabel(_range(values), color=MUTED, fontsize=9)
    return figure


def _draw(axes: Axes, picture: NDArray[Any], title: str) -> None:
    factor = max(1, round(_SHARP / max(picture.shape[:2])))
    bare(axes)
    axes.imshow(picture.repeat(factor, axis=0).repeat(factor, axis=1), interpolation="none")
    axes.set_title(title)


def _overlaid(picture: NDArray[np.uint8], values: Floats) -> NDArray[np.uint8]:
    """Return the picture (H, W, 3) in pale grey under the colours of a map (h, w)."""
    height, width = picture.shape[:2]
    rows = np.arange(height) * values.shape[0] // height
    columns = np.arange(width) * values.shape[1] // width
    spread = values[rows][:, columns, None]  # (H, W, 1)
    opacity = _STRONGEST * np.abs(spread) / max(float(np.abs(values).max()), 1e-12)
    grey = 1 - _FAINT * (1 - picture.mean(axis=2, keepdims=True) / 255)
    colours = np.where(spread > 0, to_rgb(WRONG), to_rgb(RIGHT))
    return ((opacity * colours + (1 - opacity) * grey) * 255).round().astype(np.uint8)


def _range(values: Floats) -> str:
    """Return the extremes of a map, in words."""
    low, high = float(values.min()), float(values.max())
    if low >= 0:
        return f"up to {_signed(high)[1:]}"
    return f"{_signed(low)} to {_signed(high)}"


def _signed(value: float) -> str:
    text = f"{abs(value):.2f}" if abs(value) >= 0.01 or value == 0 else f"{abs(value):.0e}"
    return f"{'−' if value < 0 else '+'}{text}"
