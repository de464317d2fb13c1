"""What the comparison found: the paper's table, two fronts, and what the paper found."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from mlpmixer.report.formatting import number, percent
from mlpmixer.report.front_plots import Candidate, accuracy_front
from mlpmixer.report.page import FigurePage, FigureView, Section, csv_file, figure_view
from mlpmixer.studies.comparison import ComparisonStudy, front
from mlpmixer.studies.grid import Grid
from mlpmixer.studies.outputs import progress_note, write_outputs

_PAPER = (
    "The paper found Mixers competitive in accuracy at a higher throughput: Mixer-B/16 classifies "
    "1.6 times as many images a second as ViT-B/16; pre-trained on ImageNet alone it reaches "
    "76.4 % where ViT-B/16 reaches 79.7 % (table 3 of arXiv 2105.01601)."
)
_MEASURES = ("accuracy", "top5", "seconds", "core_hours", "parameters", "gmacs", "steps")


def compared(rows: Sequence[Mapping[str, Any]], speeds: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row a model: means over the seeds, and its throughput."""
    found = []
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model]
        found.append(
            {
                "model": model,
                "seeds": len(own),
                **{name: fmean(row[name] for row in own) for name in _MEASURES},
                "training_memory_bytes": max(row["training_memory_bytes"] for row in own),
                "images_per_second": speeds[model]["images_per_second"],
                "best_batch_size": speeds[model]["batch_size"],
            }
        )
    return found


def report_comparison(
    study: ComparisonStudy, grid: Grid, speeds: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Write the study's outputs; returns the table and the findings as sentences.

    Raises:
        MixerError: a file cannot be written.
    """
    table = compared(grid.rows(), speeds)
    fast = front((row["model"], -row["images_per_second"], row["accuracy"]) for row in table)
    cheap = front((row["model"], row["core_hours"], row["accuracy"]) for row in table)
    sentences = findings(table, fast, cheap)
    recipe = next(iter(study.recipes.values()))
    page = FigurePage(
        title="The families side by side",
        subtitle=tuple(filter(None, (recipe.data.data, progress_note(grid)))),
        sections=(
            Section(
                "fronts",
                "What accuracy costs",
                "A model on the line is beaten by no other in both numbers.",
                (
                    _figure(grid, table, "images_per_second", "images a second", fast),
                    _figure(grid, table, "core_hours", "core-hours of training", cheap),
                ),
            ),
        ),
        findings=(*sentences, _PAPER),
        facts={row["model"]: percent(row["accuracy"]) for row in table},
    )
    write_outputs(grid, page, {"findings": sentences, "models": table, "throughput": speeds})
    return table, sentences


def findings(
    table: Sequence[Mapping[str, Any]], fast: Sequence[str], cheap: Sequence[str]
) -> list[str]:
    """Return what the table says, a sentence each."""
    best = max(table, key=lambda row: row["accuracy"])
    quickest = max(table, key=lambda row: row["images_per_second"])
    return [
        f"{best['model']} is the most accurate with {percent(best['accuracy'])}.",
        f"{quickest['model']} is the fastest with {number(quickest['images_per_second'])} "
        "images a second.",
        f"On the front of accuracy and throughput: {', '.join(fast)}.",
        f"On the front of accuracy and training cost: {', '.join(cheap)}.",
    ]


def _figure(
    grid: Grid, table: Sequence[Mapping[str, Any]], measure: str, label: str, best: Sequence[str]
) -> FigureView:
    candidates = [
        Candidate(
            name=row["model"],
            family=row["model"].partition("_")[0],
            x=row[measure],
            accuracy=row["accuracy"],
            on_front=row["model"] in best,
        )
        for row in table
    ]
    columns = ("model", measure, "accuracy")
    return figure_view(
        accuracy_front(candidates, label),
        grid.out,
        name=f"accuracy_by_{measure}",
        title=f"Accuracy against {label}",
        alt=f"Each model's accuracy against its {label}.",
        caption="Up is better; so is "
        + ("to the right." if measure == "images_per_second" else "to the left."),
        data=csv_file(
            f"accuracy_by_{measure}", {name: [row[name] for row in table] for name in columns}
        ),
    )
