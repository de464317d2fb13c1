"""Figures about a classifier's answers and mistakes.

Each function returns a matplotlib figure; `figure_style.save_png` and `to_svg` write it.
"""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from mlpmixer.formatting import percent, shortened
from mlpmixer.measures.calibration import Calibration
from mlpmixer.measures.confusion import Confusion
from mlpmixer.measures.intervals import wilson_intervals
from mlpmixer.report.figure_style import (
    BLUE,
    GRID,
    INK,
    MUTED,
    RIGHT,
    VERMILION,
    WIDTH,
    WRONG,
    bare,
    new_figure,
    styled,
)
from mlpmixer.report.run_contents import Mistake

_ANNOTATED_CLASSES = 15
_LABELLED_CLASSES = 40
_LARGEST_MAP = 200  # pixels along a side of the confusion matrix
_PICTURE = 300  # pixels along a side of a mistake: about what it has in the file


def confusion_matrix(confusion: Confusion, class_names: Sequence[str]) -> Figure:
    """Draw what was taken for what: true classes are rows, predicted ones columns.

    Right answers are blue, mistakes orange; the deeper, the larger the share of the true class.
    Counts are written into the cells of up to 15 classes.
    """
    classes = len(class_names)
    with styled():
        figure = new_figure(WIDTH * 0.95)
        axes = figure.subplots()
        axes.grid(visible=False)
        axes.set_aspect("equal")
        if classes <= _ANNOTATED_CLASSES:
            _annotated_cells(axes, confusion.matrix())
        else:
            edge = classes - 0.5
            axes.imshow(
                _cell_image(confusion),
                extent=(-0.5, edge, edge, -0.5),
                interpolation="none",
            )
        axes.set_xlim(-0.5, classes - 0.5)
        axes.set_ylim(classes - 0.5, -0.5)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        if classes <= _LABELLED_CLASSES:
            names = [shortened(name, 18) for name in class_names]
            size = 9 if classes <= _ANNOTATED_CLASSES else 6
            axes.set_xticks(range(classes), names, rotation=45, ha="right", fontsize=size)
            axes.set_yticks(range(classes), names, fontsize=size)
            axes.set_xlabel("predicted")
            axes.set_ylabel("true")
        else:
            axes.set_xlabel("predicted (number of the class)")
            axes.set_ylabel("true (number of the class)")
    return figure


def confusion_caption(classes: int) -> str:
    """Return what the confusion matrix of so many classes shows, in sentences."""
    caption = (
        "Rows are true classes, columns what they were taken for. Blue is right, orange "
        "wrong; the deeper, the larger the share of the true class."
    )
    if classes > _LABELLED_CLASSES:
        caption += " Classes are numbered from 0, in the order of evaluation.json."
    if (block := _block(classes)) > 1:
        caption += (
            f" A cell stands for {block} by {block} classes and shows the largest mistake between "
            "them; on the diagonal it shows the mean of what is right, and no mistakes."
        )
    return caption


def reliability_diagram(calibration: Calibration) -> Figure:
    """Draw accuracy against confidence, with 95 % intervals, over how confidence is spread."""
    filled = calibration.counts > 0
    confidence, accuracy = calibration.confidence[filled], calibration.accuracy[filled]
    counts = calibration.counts[filled]
    intervals = wilson_intervals(accuracy * counts, counts)
    with styled():
        figure = new_figure(WIDTH * 0.95)
        above, below = figure.subplots(
            2, 1, sharex=True, gridspec_kw={"height_ratios": [3.4, 1]}, squeeze=True
        )
        above.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        above.text(0.03, 0.09, "honest", color=MUTED, fontsize=9)
        above.vlines(confidence, confidence, accuracy, color=VERMILION, linewidth=5, alpha=0.35)
        above.vlines(confidence, intervals[:, 0], intervals[:, 1], color=BLUE, linewidth=1)
        above.plot(confidence, accuracy, color=BLUE, marker="o", markersize=5)
        above.set_ylim(0, 1.02)
        above.set_title(f"Expected calibration error {percent(calibration.expected_error)}")
        above.set_ylabel("share that is right")
        below.bar(confidence, counts / counts.sum(), width=0.04, color=MUTED)
        below.set_xlim(0, 1.02)
        below.set_ylabel("images")
        below.set_xlabel("confidence of the prediction")
        for axes in (above, below):
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        below.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    return figure


def class_accuracy(
    correct: NDArray[np.integer], total: NDArray[np.integer], class_names: Sequence[str]
) -> Figure:
    """Draw each class's accuracy with its 95 % interval, the worst first.

    `correct` and `total` are (K,) counts. Of more than 40 classes the worst and best 20 are shown.
    """
    known = np.flatnonzero(total)
    order = known[np.argsort(correct[known] / total[known], kind="stable")]
    cut = len(order) > _LABELLED_CLASSES
    if cut:
        half = _LABELLED_CLASSES // 2
        order = np.concatenate([order[:half], order[-half:]])
    shares = correct[order] / total[order]
    rows = np.arange(len(order), dtype=float)
    if cut:
        rows[len(order) // 2 :] += 1.5
    intervals = wilson_intervals(correct[order], total[order])
    overall = correct.sum() / total.sum()
    with styled():
        figure = new_figure(max(2.4, 0.8 + 0.24 * (rows[-1] + 1)))
        axes = figure.subplots()
        axes.barh(rows, shares, height=0.72, color=BLUE, alpha=0.8)
        axes.hlines(rows, intervals[:, 0], intervals[:, 1], color=INK, linewidth=1)
        axes.axvline(overall, color=VERMILION, linewidth=1.4, linestyle=(0, (4, 3)))
        axes.annotate(
            f"all {percent(overall)}",
            (overall, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            color=VERMILION,
            fontsize=9,
            ha="right" if overall > 0.5 else "left",
        )
        axes.set_yticks(rows, [shortened(class_names[k], 24) for k in order], fontsize=9)
        axes.tick_params(axis="y", length=0)
        if cut:
            middle = (rows[len(order) // 2 - 1] + rows[len(order) // 2]) / 2
            axes.text(
                0.01, middle, f"{len(known) - len(order):,} classes between", color=MUTED,
                fontsize=9, va="center",
            )  # fmt: skip
        axes.set_ylim(max(rows[-1], 3) + 0.7, -0.7)
        axes.set_xlim(0, 1)
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    return figure


def mistake_grid(mistakes: Sequence[Mistake], columns: int = 4) -> Figure:
    """Draw pictures with their true label, and the predicted one with its probability."""
    rows = math.ceil(len(mistakes) / columns)
    with styled():
        figure = new_figure(rows * WIDTH / columns * 1.32)
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid:
            bare(axes)
        for axes, mistake in zip(grid, mistakes, strict=False):
            picture = mistake.picture.copy()
            picture.thumbnail((_PICTURE, _PICTURE))  # matplotlib would hold all of a photograph
            axes.imshow(np.asarray(picture), interpolation="nearest")
            axes.set_title(
                f"{shortened(mistake.true, 20)}\n"
                f"taken for {shortened(mistake.predicted, 12)} {percent(mistake.probability, 0)}",
                fontsize=7,
                fontweight="normal",
            )
    return figure


def _cell_image(confusion: Confusion) -> NDArray[np.float64]:
    """Return the cells as an image, (n, n, 4); n is K, or less where cells have to share a pixel.

    A pixel shows the largest mistake in it, on the diagonal instead the mean of the right answers
    to the classes that were tested.
    """
    block = _block(confusion.classes)
    edges = np.arange(0, confusion.classes, block)
    total = np.maximum(confusion.total, 1)
    wrong = confusion.mistakes()
    shares = wrong.counts / total[wrong.true]
    largest = np.zeros((len(edges), len(edges)))
    np.maximum.at(largest, (wrong.true // block, wrong.predicted // block), shares)
    image = np.empty((len(edges), len(edges), 4))
    image[..., :3] = to_rgb(WRONG)
    # The root keeps rare mistakes visible among many cells.
    image[..., 3] = np.sqrt(largest / max(float(largest.max()), 1e-12))
    diagonal = np.arange(len(edges))
    tested = np.add.reduceat(confusion.total > 0, edges, dtype=np.int64)
    image[diagonal, diagonal, :3] = to_rgb(RIGHT)
    image[diagonal, diagonal, 3] = np.add.reduceat(confusion.correct / total, edges) / np.maximum(
        tested, 1
    )
    return image


def _block(classes: int) -> int:
    """Return how many classes share a row of pixels."""
    return math.ceil(classes / _LARGEST_MAP)


def _annotated_cells(axes: Axes, counts: NDArray[np.integer]) -> None:
    """Draw cells as separate shapes: they let the background through, light or dark."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    wrong = shares * (1 - np.eye(len(counts)))
    relative = wrong / max(float(wrong.max()), 1e-12)
    for (row, column), count in np.ndenumerate(counts):
        right = row == column
        alpha = float(shares[row, column]) if right else 0.6 * float(relative[row, column])
        colour = to_rgba(RIGHT if right else WRONG, alpha)
        axes.add_patch(
            Rectangle((column - 0.47, row - 0.47), 0.94, 0.94, facecolor=colour, edgecolor="none")
        )
        axes.add_patch(
            Rectangle((column - 0.47, row - 0.47), 0.94, 0.94, fill=False, edgecolor=GRID, lw=0.6)
        )
        if count:
            strong = right and alpha > 0.5
            axes.text(
                column,
                row,
                f"{count:,}",
                ha="center",
                va="center",
                color="white" if strong else INK,
                fontsize=8.5 if count < 10_000 else 6.5,
            )
