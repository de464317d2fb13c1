"""Accuracy against what it costs, as in the paper."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter
from matplotlib.transforms import Bbox

from mlpmixer.report.figure_style import GRID, INK, LOOKS, MUTED, new_figure, styled

_MARKER = 8.0  # points
_ROOM = 0.2
"""Share of the width that is kept for names at the right of the last points."""
_LOGARITHMIC_FROM = 3.0
"""Ratio of the largest to the smallest cost from which the scale is logarithmic."""
_PLACES = (
    ((8, 0), "left", "center"),
    ((0, 8), "center", "bottom"),
    ((-8, 0), "right", "center"),
    ((0, -8), "center", "top"),
    ((6, 6), "left", "bottom"),
    ((6, -6), "left", "top"),
    ((-6, 6), "right", "bottom"),
    ((-6, -6), "right", "top"),
)
"""Where a name can stand beside its point, the best first: points to the right and up, and the
name's alignment."""


@dataclass(frozen=True)
class FrontPoint:
    """A model in the figure."""

    name: str
    family: str
    x: float
    """What it costs, or how fast it is."""
    accuracy: float
    """In [0, 1]."""
    on_front: bool
    """Whether no other model is better in both."""
    trail: Sequence[tuple[float, float]] = ()
    """Costs and accuracies on the way to it."""


def accuracy_front(candidates: Sequence[FrontPoint], label: str) -> Figure:
    """Draw accuracy against `label`, a line through the front, and the way to each model."""
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
            colour, dash, marker = LOOKS[families.index(one.family) % len(LOOKS)]
            if one.trail:
                costs, accuracies = zip(*one.trail, strict=True)
                axes.plot(costs, accuracies, color=colour, linestyle=dash, linewidth=1, zorder=1)
            axes.plot(
                one.x,
                one.accuracy,
                marker=marker,
                color=colour,
                markersize=_MARKER,
                markeredgecolor=GRID,
                linestyle="none",
            )
        _scale(axes, [x for one in candidates for x in (one.x, *(cost for cost, _ in one.trail))])
        axes.margins(0.08, 0.1)
        _make_room(axes)
        axes.set_xlabel(label)
        axes.set_ylabel("accuracy")
        axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        _name(axes, candidates)
    return figure


def _scale(axes: Axes, costs: Sequence[float]) -> None:
    if min(costs) > 0 and max(costs) / min(costs) >= _LOGARITHMIC_FROM:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def _make_room(axes: Axes) -> None:
    """Move the right edge away from the last points."""
    to_scale = axes.transScale
    (left, _), (right, _) = to_scale.transform([(edge, 1.0) for edge in axes.get_xlim()])
    room = (right + (right - left) * _ROOM / (1 - _ROOM), 0.0)
    axes.set_xlim(right=float(to_scale.inverted().transform(room)[0]))


def _name(axes: Axes, candidates: Sequence[FrontPoint]) -> None:
    """Write each name beside its point, where it covers no other point and no other name."""
    figure = axes.figure
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()  # tells where the points are
    reach = _MARKER / 2 * figure.dpi / 72
    points = axes.transData.transform([(one.x, one.accuracy) for one in candidates])
    taken = [Bbox([point - reach, point + reach]) for point in points]
    for one in candidates:
        for offset, horizontal, vertical in _PLACES:
            text = axes.annotate(
                one.name,
                (one.x, one.accuracy),
                xytext=offset,
                textcoords="offset points",
                ha=horizontal,
                va=vertical,
                fontsize=9,
                color=INK,
            )
            box = text.get_window_extent()
            inside = axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1
            if (inside and not any(box.overlaps(other) for other in taken)) or (
                offset == _PLACES[-1][0]
            ):
                taken.append(box)
                break
            text.remove()
