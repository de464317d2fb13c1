"""What the scale study found: sentences, a figure, and what the paper found."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import hypot
from typing import Any

from mlpmixer.formatting import percent
from mlpmixer.report.figure_page import (
    FigurePage,
    FigureView,
    Section,
    Table,
    csv_file,
    figure_view,
)
from mlpmixer.report.scale_plots import accuracy_by_images
from mlpmixer.studies.grid import Grid
from mlpmixer.studies.outputs import (
    StudyReport,
    budget_note,
    mean_percent,
    progress_note,
    write_outputs,
)
from mlpmixer.studies.scale import MEASURES, ScaleStudy, Slope, slopes

_PAPER = (
    "The paper found that Mixers gain more from additional pre-training data than the others: far "
    "behind BiT on 10 % of JFT-300M, on a par at all of it (section 3.3 of "
    "arXiv 2105.01601)."
)


def report_scale(study: ScaleStudy, grid: Grid, commands: Mapping[str, str]) -> StudyReport:
    """Write the study's outputs; returns what was found.

    Raises:
        MixerError: a file cannot be written.
    """
    rows = grid.rows()
    titles = {"fewshot": f"{study.shots}-shot probe", "finetuned": "fine-tuned"}
    fitted = {measure: slopes(rows, measure) for measure in MEASURES}
    sentences = findings(fitted, titles)
    table = accuracies(rows, titles)
    amount = budget_note(study.pretraining.schedule)
    downstream = study.finetuning.data.data
    page = FigurePage(
        title="Who gains most from more pre-training data?",
        subtitle=tuple(
            filter(
                None,
                (
                    f"pre-trained on {study.pretraining.data.data}, {amount}",
                    f"judged on {downstream}",
                    progress_note(grid),
                ),
            )
        ),
        sections=(
            Section(
                "scale",
                "Accuracy against pre-training images",
                "The subsets are nested and balanced over the classes.",
                (_figure(grid, rows, titles),),
                table=table,
            ),
            Section(
                "slopes",
                "Who gains most",
                "Accuracy gained by ten times as many pre-training images: the slope of a straight "
                "line fitted over the logarithm of their number, with its 95 % interval.",
                table=gains(fitted, titles),
            ),
        ),
        findings=(*sentences, _PAPER),
        commands=commands,
    )
    numbers = {
        measure: {model: asdict(slope) for model, slope in found.items()}
        for measure, found in fitted.items()
    }
    summary = {"findings": sentences, "gain_by_tenfold_data": numbers}
    return StudyReport(rows, table, sentences, write_outputs(grid, page, summary))


def accuracies(rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> Table:
    """Return the accuracies of each model by the size of the subset."""
    groups: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["model"], row["images"]), []).append(row)
    models = list(dict.fromkeys(model for model, _ in groups))
    ordered = sorted(groups.items(), key=lambda group: (models.index(group[0][0]), group[0][1]))
    return Table(
        ("model", "pre-training images", *titles.values()),
        tuple(
            (
                model,
                f"{images:,}",
                *(mean_percent([row[measure] for row in own]) for measure in titles),
            )
            for (model, images), own in ordered
        ),
    )


def gains(fitted: Mapping[str, Mapping[str, Slope]], titles: Mapping[str, str]) -> Table:
    """Return the fitted slopes of each model."""
    models = dict.fromkeys(model for found in fitted.values() for model in found)
    return Table(
        ("model", *titles.values()),
        tuple((model, *(_gain(fitted[measure][model]) for measure in titles)) for model in models),
    )


def findings(
    fitted: Mapping[str, Mapping[str, Slope]], titles: Mapping[str, str]
) -> tuple[str, ...]:
    """Return what the fitted slopes say, the steepest first."""
    sentences = []
    for measure, title in titles.items():
        ordered = sorted(fitted[measure].items(), key=lambda one: -one[1].gain)
        told = ", ".join(f"{model} {_gain(slope)}" for model, slope in ordered)
        if told:
            sentences.append(f"Tenfold pre-training data gives, {title}: {told}{_doubt(ordered)}.")
    return tuple(sentences)


def _doubt(ordered: Sequence[tuple[str, Slope]]) -> str:
    """Say so where the two steepest slopes lie within each other's margins."""
    if len(ordered) < 2:
        return ""
    (first, one), (second, other) = ordered[:2]
    if one.margin is None or other.margin is None:
        return ""
    if one.gain - other.gain > hypot(one.margin, other.margin):
        return ""
    return f"; {first} and {second} cannot be told apart by it"


def _gain(slope: Slope) -> str:
    if slope.margin is None:
        return percent(slope.gain)
    return f"{percent(slope.gain).removesuffix(' %')} ± {percent(slope.margin)}"


def _figure(grid: Grid, rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> FigureView:
    models = list(dict.fromkeys(row["model"] for row in rows))
    panels = {
        title: {
            model: [(row["images"], row[measure]) for row in rows if row["model"] == model]
            for model in models
        }
        for measure, title in titles.items()
    }
    columns = ("model", "fraction", "seed", "images", *MEASURES)
    return figure_view(
        accuracy_by_images(panels),
        grid.out,
        name="scale",
        title="Accuracy on the downstream set",
        alt="Accuracy against the number of pre-training images, one line a model.",
        caption="The steeper a line, the more the model gains from data. With several seeds the "
        "points are means, and the bars reach from lowest to highest.",
        data=csv_file("scale", {name: [row[name] for row in rows] for name in columns}),
        wide=True,
    )
