"""The course of training as a figure."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from mlpmixer.formatting import percent
from mlpmixer.report.figure_style import BLUE, MUTED, VERMILION, new_figure, styled

_CURVE_POINTS = 500


def training_curves(records: Sequence[Mapping[str, object]]) -> Figure | None:
    """Draw loss, accuracy and learning rate over the course of training.

    Reads from the records: "step", "epoch" (the axis where every record has it), "loss" (of
    training), "validation_loss", "train_accuracy", "validation_accuracy" (shares in [0, 1]) and
    "learning_rate". Returns None where none of the curves is there.
    """
    axis = "epoch" if all("epoch" in record for record in records) else "step"
    panels = [
        ("Loss", [("loss", "training"), ("validation_loss", "validation")]),
        ("Accuracy", [("train_accuracy", "training"), ("validation_accuracy", "validation")]),
        ("Learning rate", [("learning_rate", "")]),
    ]
    drawn = []
    for title, names in panels:
        series = [(label, _points(records, axis, name)) for name, label in names]
        series = [entry for entry in series if len(entry[1])]
        if series:
            drawn.append((title, series))
    if not drawn:
        return None
    heights = [1.0 if title == "Learning rate" else 2.6 for title, _ in drawn]
    with styled():
        figure = new_figure(sum(heights) + 0.5)
        grid = figure.subplots(
            len(drawn), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
        )
        for axes, (title, series) in zip(grid[:, 0], drawn, strict=True):
            axes.set_title(title)
            axes.yaxis.set_major_locator(MaxNLocator(3 if title == "Learning rate" else 6))
            for label, points in series:
                _curve(axes, label, *_thinned(points).T)
            if title == "Accuracy":
                axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
                for label, points in series:
                    if label == "validation":
                        _mark_best(axes, *points.T)
            if title != "Learning rate":
                axes.legend(loc="lower right" if title == "Accuracy" else "upper right")
        grid[-1, 0].set_xlabel("epoch" if axis == "epoch" else "updates")
    return figure


def _points(records: Sequence[Mapping[str, object]], axis: str, name: str) -> NDArray[np.float64]:
    """Return x and y of one curve, (N, 2)."""
    pairs = [
        (float(x), float(y))
        for record in records
        if isinstance(x := record.get(axis), int | float)
        and isinstance(y := record.get(name), int | float)
        and math.isfinite(y)
    ]
    return np.array(pairs, dtype=np.float64).reshape(-1, 2)


def _thinned(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points (N, 2), those of a long curve as means of neighbours."""
    if len(points) <= _CURVE_POINTS:
        return points
    return np.array([part.mean(axis=0) for part in np.array_split(points, _CURVE_POINTS)])


def _curve(axes: Axes, label: str, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    validation = label == "validation"
    axes.plot(
        x,
        y,
        label=label,
        color=VERMILION if validation else BLUE if label else MUTED,
        marker="o" if (validation and len(x) <= 60) or len(x) == 1 else "",
        markersize=3.5,
    )


def _mark_best(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    """Mark the best value there was, which thinning may have taken from the curve."""
    best = int(y.argmax())
    late = x[best] > (x[0] + x[-1]) / 2
    axes.plot(x[best], y[best], "o", color=VERMILION, markersize=7)
    axes.annotate(
        f"best {percent(y[best])}",
        (x[best], y[best]),
        xytext=(0, -16),
        textcoords="offset points",
        ha="right" if late else "left",
        color=VERMILION,
        fontsize=9,
    )
