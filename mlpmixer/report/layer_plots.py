"""Figures with the layers of a network along the horizontal axis, or as a family of lines."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter
from numpy.typing import NDArray

from mlpmixer.report.figure_style import BLUE, INK, MUTED, VERMILION, WIDTH, new_figure, styled

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of a distribution: what `distributions` draws."""
_STYLES = ((BLUE, "o", "-"), (VERMILION, "s", "--"), (INK, "^", "-."), (MUTED, "D", ":"))
_LABELLED = 16
_HEIGHT = 3.3


def distributions(
    quantiles: NDArray[np.floating],
    names: Sequence[str],
    *,
    unit: str,
    quantity: str,
    reference: NDArray[np.floating] | float,
    reference_label: str,
    share: bool = False,
) -> Figure:
    """Draw a quantity's distribution in each of L layers: median, middle half, middle 90 %.

    Args:
        quantiles: (5, L) at `QUANTILES`.
        names: of the layers, L.
        unit: what the layers are, along the axis.
        quantity: what is drawn, up the axis.
        reference: a value to compare with, one for all layers or (L,).
        reference_label: what it is.
        share: write the quantity as per cent.
    """
    places = np.arange(len(names))
    with styled():
        figure = new_figure(_HEIGHT)
        axes = figure.subplots()
        level = np.broadcast_to(reference, len(names))
        axes.hlines(
            level, places - 0.42, places + 0.42, color=VERMILION, lw=1.6, linestyle=(0, (3, 2))
        )
        axes.vlines(places, quantiles[0], quantiles[4], color=BLUE, linewidth=1.4)
        width = min(9.0, 160 / len(names))
        axes.vlines(places, quantiles[1], quantiles[3], color=BLUE, linewidth=width, alpha=0.55)
        axes.plot(places, quantiles[2], color=INK, linestyle="none", marker="o", markersize=4)
        axes.plot([], [], color=VERMILION, lw=1.6, linestyle=(0, (3, 2)), label=reference_label)
        axes.plot([], [], color=INK, marker="o", markersize=4, linestyle="none", label="median")
        axes.set_ylabel(quantity)
        if share:
            axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        _layer_axis(axes, names, unit)
        _legend_above(axes)
    return figure


def spectra(
    frequency: NDArray[np.floating], power: NDArray[np.floating], names: Sequence[str], *, unit: str
) -> Figure:
    """Draw the power of L layers' weights against spatial frequency, one line a layer.

    `frequency` is (rings,) in cycles a patch, `power` (L, rings), 1 for fresh weights.
    """
    with styled():
        figure = new_figure(_HEIGHT, 2 * WIDTH)
        axes = figure.subplots()
        shades = colormaps["cividis"](np.linspace(0, 1, len(names)))
        axes.axhline(1, color=VERMILION, lw=1.6, linestyle=(0, (3, 2)), label="fresh weights")
        for line, shade in zip(power, shades, strict=True):
            # A rim lets the palest and the darkest line stand off from any background.
            axes.plot(frequency, line, color=MUTED, linewidth=2.6)
            axes.plot(frequency, line, color=tuple(shade), lw=1.7, marker="o", markersize=2.5)
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(FixedLocator(_round_values(power)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
        axes.set_xlim(left=0)
        axes.set_xlabel("spatial frequency (cycles a patch)")
        axes.set_ylabel("power beside fresh weights")
        _legend_above(axes)
        scale = ScalarMappable(Normalize(1, max(len(names), 2)), "cividis")
        bar = figure.colorbar(scale, ax=axes, label=unit, pad=0.01, aspect=30)
        shown = sorted({1, (len(names) + 1) // 2, len(names)})
        bar.set_ticks(shown, labels=[names[place - 1] for place in shown])
        bar.outline.set_visible(False)
    return figure


def lines(
    values: Mapping[str, NDArray[np.floating]],
    names: Sequence[str],
    *,
    unit: str,
    quantity: str,
    share: bool = False,
    ceiling: float | None = None,
) -> Figure:
    """Draw quantities by layer: each (L,), or (3, L) with the quartiles as a band.

    A shorter line ends with the last layer. `ceiling` is the largest value there can be.
    """
    with styled():
        figure = new_figure(_HEIGHT)
        axes = figure.subplots()
        for number, (label, drawn) in enumerate(values.items()):
            colour, marker, dash = _STYLES[number % len(_STYLES)]
            places = np.arange(len(names))[-drawn.shape[-1] :]
            if drawn.ndim == 2:
                axes.fill_between(places, drawn[0], drawn[2], color=colour, alpha=0.18, lw=0)
            middle = drawn[1] if drawn.ndim == 2 else drawn
            axes.plot(
                places, middle, label=label, color=colour, marker=marker, markersize=4.5,
                linestyle=dash,
            )  # fmt: skip
        if share:
            axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        low = min(float(drawn.min()) for drawn in values.values())
        axes.set_ylim(min(0.0, low * 1.05), None if ceiling is None else ceiling * 1.03)
        axes.set_ylabel(quantity)
        _layer_axis(axes, names, unit)
        _legend_above(axes)
    return figure


def alignment(matrix: NDArray[np.floating], names: Sequence[str], *, unit: str) -> Figure:
    """Draw how alike the layers' representations are: (L, L), 1 on the diagonal."""
    with styled():
        figure = new_figure(_HEIGHT)
        figure.set_layout_engine("compressed")  # a square and its bar stay together
        axes = figure.subplots()
        axes.grid(visible=False)
        image = axes.imshow(matrix, cmap="cividis", vmin=0, vmax=1, interpolation="none")
        shown = _shown(names)
        labels = [names[place] for place in shown]
        axes.set_xticks(shown, labels)
        axes.set_yticks(shown, labels)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel(f"after {unit}")
        axes.set_ylabel(f"after {unit}")
        bar = figure.colorbar(image, ax=axes, label="similarity (linear CKA)", pad=0.02, aspect=30)
        bar.outline.set_visible(False)
    return figure


def _layer_axis(axes: Axes, names: Sequence[str], unit: str) -> None:
    shown = _shown(names)
    axes.set_xticks(shown, [names[place] for place in shown])
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.grid(visible=False, axis="x")
    axes.set_xlabel(unit)


def _legend_above(axes: Axes) -> None:
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2, handlelength=2.4,
        columnspacing=1.4, fontsize=9.5,
    )  # fmt: skip


def _shown(names: Sequence[str]) -> list[int]:
    """Return which layers get a label: all, or every fourth by its number."""
    if len(names) <= _LABELLED:
        return list(range(len(names)))
    return list(range(3 if names[0] == "1" else 0, len(names), 4))


def _round_values(power: NDArray[np.floating]) -> list[float]:
    """Return round values over the range of a logarithmic axis, about six of them."""
    low, high = float(power[power > 0].min(initial=1.0)), float(power.max(initial=1.0))
    for bases in ((1, 1.5, 2, 3, 4, 6, 8), (1, 2, 5), (1,)):
        steps = [base * 10.0**exponent for exponent in range(-12, 9) for base in bases]
        inside = [step for step in steps if low * 0.8 <= step <= high * 1.2]
        if len(inside) <= 8:
            break
    return inside
