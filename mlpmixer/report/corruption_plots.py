"""Figures of robustness: accuracy against severity, and what the damage looks like."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from mlpmixer.report.figure_style import LOOKS, MUTED, WIDTH, bare, new_figure, styled

_COLUMNS = 4


def accuracy_by_severity(
    groups: Mapping[str, Mapping[str, Sequence[float]]], clean: float
) -> Figure:
    """Draw accuracy against severity: a panel a group, a line a corruption.

    Args:
        groups: by the group's name and then the corruption's, accuracies in [0, 1] of severities 1
            to 5.
        clean: accuracy on the images as they are, which is severity 0.
    """
    columns = min(2, len(groups))
    rows = -(-len(groups) // columns)
    with styled():
        figure = new_figure(2.9 * rows, WIDTH * (1.4 if columns > 1 else 1.0))
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, (group, lines) in zip(panels, groups.items(), strict=False):
            for number, (name, accuracies) in enumerate(lines.items()):
                colour, dash, marker = LOOKS[number % len(LOOKS)]
                course = [clean, *accuracies]
                axes.plot(
                    range(len(course)),
                    course,
                    color=colour,
                    linestyle=dash,
                    marker=marker,
                    markersize=5,
                    label=name,
                )
            axes.axhline(clean, color=MUTED, linewidth=0.8, linestyle=":")
            axes.set_title(group)
            axes.set_ylim(0, 1)
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
            axes.legend(loc="lower left", fontsize=9)
            axes.set_xlabel("severity")
            axes.set_ylabel("accuracy")
            axes.label_outer()
        for number in range(len(groups), len(panels)):
            panels[number].set_visible(False)
            above = panels[number - columns]
            above.tick_params(labelbottom=True)
            above.set_xlabel("severity")
    return figure


def damaged_pictures(pictures: Mapping[str, NDArray[np.uint8]]) -> Figure:
    """Draw pictures (H, W, 3) beside each other under their titles, their pixels to be seen."""
    rows = -(-len(pictures) // _COLUMNS)
    with styled():
        figure = new_figure(1.75 * rows, WIDTH * 1.2)
        panels = figure.subplots(rows, _COLUMNS, squeeze=False).flat
        for axes, (title, picture) in zip(panels, pictures.items(), strict=False):
            small = max(picture.shape[:2]) <= 64
            axes.imshow(picture, interpolation="nearest" if small else "antialiased")
            axes.set_title(title, fontsize=9, fontweight="normal")
        for axes in figure.axes:
            bare(axes)
    return figure
