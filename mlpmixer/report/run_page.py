"""The report of a run as one page that needs nothing else."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from mlpmixer import formatting
from mlpmixer.files import write_text
from mlpmixer.formatting import capitalized
from mlpmixer.measures.intervals import wilson_interval, wilson_intervals
from mlpmixer.measures.metrics import interval, shown
from mlpmixer.report import answer_plots, weight_plots
from mlpmixer.report.curves import training_curves
from mlpmixer.report.figure_page import FigureView, data_uri, environment
from mlpmixer.report.figure_style import save_png, to_svg
from mlpmixer.report.run_contents import OF_EACH_CLASS, Mistake, ReportContents
from mlpmixer.report.run_findings import findings
from mlpmixer.report.thumbnails import thumbnail

_MISTAKES = 48
_MISTAKES_UNFOLDED = 12
_MISTAKES_IN_FIGURE = 16
_PAIRS = 30
_CLASSES = 1000  # listed in numbers; evaluation.json holds all
_UNREADABLE = 500  # listed by name
_HEADLINE = "top1"
_WEIGHT_TILES = 144


@dataclass(frozen=True)
class PictureView:
    """A mistake as the page shows it."""

    mistake: Mistake
    uri: str
    pixel_art: bool


@dataclass(frozen=True)
class ClassView:
    """A row of the table of classes."""

    name: str
    correct: int
    total: int
    tested: int
    """Images that have it: of several classes of an image, one counts in `total`."""
    interval: tuple[float, float]
    trained: int | None
    """How many images of it were trained on; None where that is not known."""


@dataclass(frozen=True)
class MeasureView:
    """A metric as the page shows it."""

    name: str
    title: str
    value: str
    interval: tuple[float, float] | None
    sentence: str
    higher_is_better: bool

    @property
    def is_headline(self) -> bool:
        """Whether the page shows it large already."""
        return self.name == _HEADLINE


def write_report(path: str | os.PathLike[str], contents: ReportContents) -> None:
    """Write the page to `path`, and its figures as PNG into the folder figures beside it.

    The page is one file: pictures and styles are in it, it has no script and loads nothing.

    Raises:
        MixerError: if a file cannot be written.
    """
    path = Path(path)
    figures = {}
    for name, figure, alt, caption in _figures(contents):
        save_png(figure, path.parent / "figures" / f"{name}.png")
        figures[name] = FigureView(
            name, data_uri("image/svg+xml", to_svg(figure).encode()), alt, caption
        )
    if contents.mistakes:
        grid = answer_plots.mistake_grid(contents.mistakes[:_MISTAKES_IN_FIGURE])
        save_png(grid, path.parent / "figures" / "mistakes.png")
    write_text(path, _page(contents, figures))


def _page(contents: ReportContents, figures: dict[str, FigureView]) -> str:
    pairs = [] if contents.confusion is None else contents.confusion.most_confused(_PAIRS)
    template = environment().get_template("report.html.j2")
    return template.render(
        contents=contents,
        figures=figures,
        weights=[figure for name, figure in figures.items() if name.startswith("weights_")],
        interval=wilson_interval(contents.correct, contents.total),
        measures=_measures(contents),
        findings=findings(contents),
        pairs=pairs,
        classes=_classes(contents),
        pictures=[_picture(mistake) for mistake in contents.mistakes[:_MISTAKES]],
        unfolded=_MISTAKES_UNFOLDED,
        unreadable=contents.dataset.unreadable[:_UNREADABLE],
    )


def _measures(contents: ReportContents) -> list[MeasureView]:
    return [
        MeasureView(
            name,
            capitalized(metric.title),
            metric.show(value),
            interval(metric, value, contents.total),
            metric.sentence,
            metric.higher_is_better,
        )
        for name, metric, value in shown(contents.metrics, len(contents.class_names))
    ]


def _figures(contents: ReportContents) -> list[tuple[str, Figure, str, str]]:
    """Return name, figure, text for those who cannot see it, and caption."""
    made = []
    curves = training_curves(contents.records)
    if curves is not None:
        made.append(
            (
                "training_curves",
                curves,
                "Curves of loss, accuracy and learning rate over training.",
                "Training accuracy is measured on augmented images, so it can lie below that of "
                "validation.",
            )
        )
    if contents.confusion is not None:
        made.append(
            (
                "confusion_matrix",
                answer_plots.confusion_matrix(contents.confusion, contents.class_names),
                f"Confusion matrix of {len(contents.class_names)} classes; "
                "its largest entries are in the table of confused pairs.",
                answer_plots.confusion_caption(len(contents.class_names)),
            )
        )
    made.append(
        (
            "class_accuracy",
            answer_plots.class_accuracy(
                contents.class_correct, contents.class_total, contents.class_names
            ),
            "Accuracy of each class; the table of classes holds the numbers.",
            "The share of each class's images that is recognised, worst first. Thin lines are "
            "95 % intervals.",
        )
    )
    if contents.calibration is not None:
        error = formatting.percent(contents.calibration.expected_error)
        made.append(
            (
                "reliability",
                answer_plots.reliability_diagram(contents.calibration),
                f"Reliability diagram: the expected calibration error is {error}.",
                "Of the predictions made with a confidence of 80 %, 80 % should be right: the "
                "dashed line. Below it the model claims too much, above it too little."
                + ("" if contents.exclusive else f" {OF_EACH_CLASS}"),
            )
        )
    if contents.stem_filters is not None:
        shown = min(len(contents.stem_filters), _WEIGHT_TILES)
        made.append(
            (
                "weights_stem",
                weight_plots.stem_filters(contents.stem_filters, _WEIGHT_TILES),
                f"{shown} learned colour patterns of the patch embedding.",
                f"Patch embedding: what its channels look for in a patch ({shown} of "
                f"{len(contents.stem_filters):,}, from coarse to fine).",
            )
        )
    for number, (block, units) in enumerate(contents.token_mixing_units.items()):
        shown = min(len(units), _WEIGHT_TILES)
        made.append(
            (
                f"weights_token_mixing_{number}",
                weight_plots.token_mixing_units(units, _WEIGHT_TILES),
                f"Input weights of {shown} token-mixing hidden units of {block}.",
                f"Token mixing, {block}: where in the image each hidden unit looks ({shown} of "
                f"{len(units):,}, from coarse to fine, next to its opposite). "
                "Red counts for, blue against.",
            )
        )
    return made


def _classes(contents: ReportContents) -> list[ClassView]:
    """Return the classes to list, the least accurate first, untested ones last."""
    correct, total = contents.class_correct, contents.class_total
    accuracy = np.where(total > 0, correct / np.maximum(total, 1), np.inf)
    listed = np.argsort(accuracy, kind="stable")[:_CLASSES]
    intervals = wilson_intervals(correct[listed], total[listed])
    trained = contents.class_trained
    return [
        ClassView(
            contents.class_names[index],
            int(correct[index]),
            int(total[index]),
            int(contents.tested[index]),
            (low, high),
            None if trained is None else int(trained[index]),
        )
        for index, (low, high) in zip(listed, intervals.tolist(), strict=True)
    ]


def _picture(mistake: Mistake) -> PictureView:
    return PictureView(mistake, *thumbnail(mistake.picture))
