"""A picture beside maps of what a prediction for it rests on."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from mlpmixer.report.figure_style import MUTED, WIDTH, WRONG, RIGHT, bare, new_figure, styled
from mlpmixer.report.inspection_contents import Attribution, Floats

_STRONGEST = 0.9  # opacity
_FAINT = 0.35  # contrast of the grey picture below a map


def attribution(shown: Attribution) -> Figure:
    """Draw the picture, then the maps over a pale grey copy of it.

    The stronger a patch, the less of the picture is seen through its colour: orange where the patch
    speaks for the prediction, blue where it speaks against it. Each map has its own scale.
    """
    height, width = shown.picture.shape[:2]
    with styled():
        figure = new_figure(2 * WIDTH / 4 * height / width + 0.62, 2 * WIDTH)
        grid = figure.subplots(1, 4)
        for axes in grid:
            bare(axes)
        grid[0].imshow(shown.picture, interpolation="nearest")
        grid[0].set_title("what the model sees")
        _map(grid[1], shown, shown.occlusion, "occlusion")
        _map(grid[2], shown, shown.gradient_input, "gradient × input")
        _map(grid[3], shown, shown.sensitivity, "sensitivity")
    return figure


def _map(axes: Axes, shown: Attribution, values: Floats, title: str) -> None:
    height, width = shown.picture.shape[:2]
    grey = shown.picture.mean(axis=2) / 255
    axes.imshow(
        1 - _FAINT * (1 - grey), cmap="gray", vmin=0, vmax=1, interpolation="nearest"
    )
    strongest = max(float(np.abs(values).max()), 1e-12)
    colours = np.where(values[..., None] > 0, to_rgb(WRONG), to_rgb(RIGHT))
    opacity = _STRONGEST * np.abs(values)[..., None] / strongest
    axes.imshow(
        np.concatenate([colours, opacity], axis=2),
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        interpolation="nearest",
    )
    axes.set_title(title)
    axes.set_xlabel(_range(values), color=MUTED, fontsize=9)


def _range(values: Floats) -> str:
    """Return the extremes of a map, in words."""
    low, high = float(values.min()), float(values.max())
    if low >= 0:
        return f"up to {_signed(high)[1:]}"
    return f"{_signed(low)} to {_signed(high)}"


def _signed(value: float) -> str:
    text = f"{abs(value):.2f}" if abs(value) >= 0.01 or value == 0 else f"{abs(value):.0e}"
    return f"{'−' if value < 0 else '+'}{text}"
