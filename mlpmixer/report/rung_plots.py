"""The figure of a search by successive halving: every candidate through its rungs."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from mlpmixer.report.figure_style import BLUE, MUTED, VERMILION, new_figure, styled

Climb = Sequence[Sequence[float]]
"""Of a candidate, for each rung that it went through, accuracies in [0, 1], one a seed."""


def accuracy_by_rung(
    climbs: Mapping[str, Climb], budgets: Sequence[str], *, best: str, reference: str
) -> Figure:
    """Draw accuracy against the rungs: one line a candidate, which ends where it was left out.

    Args:
        climbs: by the candidate's name.
        budgets: the words under each rung.
        best: the candidate to stress.
        reference: the one that the others are compared with.
    """
    with styled():
        figure = new_figure(3.8)
        axes = figure.subplots()
        others = [climb for name, climb in climbs.items() if name not in (best, reference)]
        for number, climb in enumerate(others):
            _line(axes, climb, "-", MUTED, "the others" if not number else None)
        if reference in climbs and reference != best:
            _line(axes, climbs[reference], "--", VERMILION, "the recipe as it is", marked=True)
        title = "the best" if best != reference else "the recipe as it is, the best"
        _line(axes, climbs[best], "-", BLUE, title, marked=True)
        axes.set_xticks(range(len(budgets)), budgets)
        axes.set_xlim(-0.25, len(budgets) - 0.75)
        axes.grid(visible=False, axis="x")
        axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        axes.set_ylabel("validation accuracy")
        figure.legend(loc="outside lower center", ncols=3, fontsize=9)
    return figure


def _line(
    axes: Axes,
    climb: Climb,
    dash: str,
    colour: str,
    label: str | None,
    *,
    marked: bool = False,
) -> None:
    """Draw means over the seeds; of what is marked, bars reach from the lowest to the highest."""
    mean = np.array([np.mean(rung) for rung in climb])
    reach = np.array([[min(rung), max(rung)] for rung in climb]).T  # (2, rungs)
    several = marked and any(len(rung) > 1 for rung in climb)
    axes.errorbar(
        range(len(climb)),
        mean,
        yerr=np.abs(reach - mean) if several else None,
        color=colour,
        linestyle=dash,
        linewidth=2.4 if marked else 0.9,
        marker=("s" if dash == "--" else "o") if marked else ".",
        markersize=6 if marked else 5,
        capsize=3,
        alpha=1.0 if marked else 0.6,
        zorder=3 if marked else 1,
        label=label,
    )
