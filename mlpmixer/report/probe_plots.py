"""Few-shot accuracy against the number of shots."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter
from numpy.typing import NDArray

from mlpmixer.report.figure_style import BLUE, INK, MUTED, VERMILION, new_figure, styled

_STYLES = ((BLUE, "o", "-"), (VERMILION, "s", "--"), (INK, "^", "-."), (MUTED, "D", ":"))

Line = tuple[NDArray[np.floating], NDArray[np.floating]]
"""Mean and standard deviation of the accuracy, each (shots,), in [0, 1]."""


def accuracy_by_shots(shots: Sequence[int], lines: Mapping[str, Line]) -> Figure:
    """Draw one line for each representation, with a band of one standard deviation."""
    with styled():
        figure = new_figure(3.4)
        axes = figure.subplots()
        for (label, (mean, spread)), style in zip(lines.items(), _cycle(len(lines)), strict=True):
            colour, marker, dash = style
            axes.plot(shots, mean, label=label, color=colour, marker=marker, linestyle=dash)
            axes.fill_between(shots, mean - spread, mean + spread, color=colour, alpha=0.18, lw=0)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(list(shots)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels([str(count) for count in shots])
        axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        axes.set_xlabel("images a class")
        axes.set_title("Few-shot accuracy")
        axes.legend(loc="lower right")
    return figure


def _cycle(count: int) -> list[tuple[str, str, str]]:
    return [_STYLES[index % len(_STYLES)] for index in range(count)]
