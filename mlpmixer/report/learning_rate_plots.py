"""The losses of a learning-rate range test."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from mlpmixer.report.figure_style import BLUE, MUTED, VERMILION, new_figure, styled

_ROOM_ABOVE = 0.6
"""How far above its start the loss is shown, as a share of how far it falls; then it is cut off."""


def learning_rate_figure(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    suggestion: float | None,
    matrices: float | None,
) -> Figure:
    """Draw the loss against the learning rate, with the suggestion.

    Args:
        rates: learning rate of each step, rising.
        losses: loss of each step.
        smoothed: the same, averaged over neighbours.
        suggestion: the learning rate to mark; None where there is none.
        matrices: how many times that the matrices' learning rate is; None where it is no other.
    """
    with styled():
        figure = new_figure(3.4)
        axes = figure.subplots()
        axes.plot(rates, losses, color=MUTED, linewidth=0.8, alpha=0.6, label="each step")
        axes.plot(rates, smoothed, color=BLUE, label="smoothed")
        least = min(smoothed)
        fall = max(smoothed[0] - least, 0.05 * abs(smoothed[0]))
        axes.set_ylim(least - 0.2 * fall, smoothed[0] + _ROOM_ABOVE * fall)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
        if suggestion is not None:
            axes.axvline(suggestion, color=VERMILION, linestyle="--")
            axes.annotate(
                f"suggested: {suggestion:g}",
                (suggestion, 0.04),
                xycoords=("data", "axes fraction"),
                xytext=(-6, 0),
                textcoords="offset points",
                ha="right",
                color=VERMILION,
            )
        beside = "" if matrices is None else f" (of matrices {matrices:.3g} times it)"
        axes.set_xlabel(f"learning rate{beside}")
        axes.set_ylabel("training loss")
        axes.legend(loc="upper left")
    return figure
