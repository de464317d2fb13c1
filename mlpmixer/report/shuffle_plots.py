"""Figures of the permutation study, as in the paper."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from mlpmixer.report.figure_style import (
    BLUE,
    INK,
    MUTED,
    VERMILION,
    WIDTH,
    bare,
    new_figure,
    styled,
)

INPUT_TITLES = {
    "untouched": "untouched",
    "patches": "patches and pixels shuffled",
    "pixels": "all pixels shuffled",
}
_LINES = {"untouched": (BLUE, "-"), "patches": (VERMILION, "--"), "pixels": (INK, ":")}

Course = Sequence[tuple[int, float]]
"""Steps and validation accuracies in [0, 1] of one training."""


def permutation_curves(courses: Mapping[str, Mapping[str, Sequence[Course]]]) -> Figure:
    """Draw validation accuracy against steps: one panel a model, one line an input.

    `courses` holds, by model and then by input ("untouched", "patches", "pixels"), a course for
    each seed. Lines are means over the seeds, bands reach from the lowest to the highest.
    """
    with styled():
        figure = new_figure(3.4, WIDTH * max(1.0, 0.62 * len(courses)))
        panels = np.atleast_1d(figure.subplots(1, len(courses), sharey=True))
        for axes, (model, inputs) in zip(panels, courses.items(), strict=True):
            for kind, runs in inputs.items():
                colour, dash = _LINES[kind]
                steps = np.array(runs[0])[:, 0]
                # Runs with a budget in minutes are validated at steps of their own.
                accuracies = np.array([np.interp(steps, *np.array(run).T) for run in runs])
                mean = accuracies.mean(axis=0)
                axes.plot(steps, mean, dash, color=colour, label=INPUT_TITLES[kind])
                if len(runs) > 1:
                    low, high = accuracies.min(axis=0), accuracies.max(axis=0)
                    axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
            axes.set_title(model)
            axes.set_xlabel("steps")
            axes.set_xlim(left=0)
        panels[0].set_ylabel("validation accuracy")
        panels[0].set_ylim(bottom=0)
        panels[0].yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9)
    return figure


def shuffled_pictures(pictures: Mapping[str, NDArray[np.uint8]]) -> Figure:
    """Draw example images, one column each, and what each input makes of them, one row each.

    `pictures` holds, by input, the same images (N, H, W, 3) of 0 to 255.
    """
    count = len(next(iter(pictures.values())))
    with styled():
        figure = new_figure((WIDTH / count + 0.25) * len(pictures))
        for axes, (kind, images) in zip(
            figure.subplots(len(pictures)), pictures.items(), strict=True
        ):
            bare(axes)
            gap = max(1, images.shape[2] // 10)
            spaced = np.pad(images, ((0, 0), (0, 0), (0, gap), (0, 0)), constant_values=255)
            row = np.concatenate(list(spaced), axis=1)[:, :-gap]  # (H, N·(W + gap) - gap, 3)
            alpha = np.tile(np.repeat([255, 0], [images.shape[2], gap]), count)[:-gap]
            alpha = np.broadcast_to(alpha[None, :, None], (*row.shape[:2], 1)).astype(np.uint8)
            axes.imshow(np.concatenate([row, alpha], axis=2), interpolation="none")
            height, width = images.shape[1:3]
            for number in range(count):  # an edge, where white pixels meet a white page
                corner = (number * (width + gap) - 0.5, -0.5)
                frame = Rectangle(corner, width, height, fill=False, edgecolor=MUTED, linewidth=0.6)
                axes.add_patch(frame).set_clip_on(False)
            axes.set_title(INPUT_TITLES[kind], fontsize=9)
    return figure
