"""Accuracy against what it costs, as in the paper."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from mlpmixer.report.figure_style import BLUE, GRID, INK, MUTED, VERMILION, new_figure, styled

_MARKERS = "osD^vPX*"
_COLOURS = (BLUE, VERMILION, INK, MUTED)


@dataclass(frozen=True)
class Candidate:
    """A model in the figure."""

    name: str
    family: str
    x: float
    """What it costs, or how fast it is."""
    accuracy: float
    """In [0, 1]."""
    on_front: bool
    """Whether no other model is better in both."""


def accuracy_front(candidates: Sequence[Candidate], label: str) -> Figure:
    """Draw accuracy against `label`, on a logarithmic scale, and a line through the front."""
    families = list(dict.fromkeys(one.family for one in candidates))
    with styled():
        figure = new_figure(3.6)
        axes = figure.subplots()
        best = sorted((one for one in candidates if one.on_front), key=lambda one: one.x)
        axes.plot(
            [one.x for one in best],
            [one.accuracy for one in best],
            color=MUTED,
            linewidth=1,
            zorder=1,
        )
        for one in candidates:
            number = families.index(one.family)
            axes.plot(
                one.x,
                one.accuracy,
                marker=_MARKERS[number % len(_MARKERS)],
                color=_COLOURS[number % len(_COLOURS)],
                markersize=8,
                markeredgecolor=GRID,
                linestyle="none",
            )
            axes.annotate(
                one.name,
                (one.x, one.accuracy),
                xytext=(0, 9),
                textcoords="offset points",
                ha="center",
                fontsize=9,
                color=INK,
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(0.18, 0.2)
        axes.set_xlabel(label)
        axes.set_ylabel("accuracy")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure
