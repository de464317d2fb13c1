"""The figure of the scale study, as in the paper."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator, PercentFormatter

from mlpmixer.formatting import magnitude
from mlpmixer.report.figure_style import LOOKS, WIDTH, new_figure, styled

Points = Sequence[tuple[int, float]]
"""Pre-training images and accuracy in [0, 1], a point for each subset and seed."""


def accuracy_by_images(panels: Mapping[str, Mapping[str, Points]]) -> Figure:
    """Draw accuracy against the number of pre-training images: one line a model.

    `panels` holds, by title and then by model, the points. Lines are means over the seeds, bars
    reach from the lowest to the highest.
    """
    with styled():
        figure = new_figure(3.6, WIDTH * max(1.0, 0.62 * len(panels)))
        for axes, (title, models) in zip(
            np.atleast_1d(figure.subplots(1, len(panels))), panels.items(), strict=True
        ):
            for number, (model, points) in enumerate(models.items()):
                colour, dash, marker = LOOKS[number % len(LOOKS)]
                sizes = sorted({images for images, _ in points})
                found = [[one for images, one in points if images == size] for size in sizes]
                mean = np.array([np.mean(one) for one in found])
                reach = np.array([[min(one), max(one)] for one in found]).T  # (2, sizes)
                axes.errorbar(
                    sizes,
                    mean,
                    yerr=np.abs(reach - mean) if len(points) > len(sizes) else None,
                    color=colour,
                    linestyle=dash,
                    marker=marker,
                    markersize=5,
                    capsize=3,
                    label=model,
                )
            axes.set_xscale("log")
            axes.set_xticks(sorted({images for points in models.values() for images, _ in points}))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(
                FuncFormatter(lambda images, _: magnitude(round(images)))
            )
            axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
            axes.set_title(title)
            axes.set_xlabel("pre-training images")
        figure.axes[0].set_ylabel("accuracy")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
    return figure
