"""What the comparison found: the paper's table, two fronts, and what the paper found."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from mlpmixer.formatting import magnitude, memory, number, percent
from mlpmixer.measures.metrics import METRICS
from mlpmixer.report.figure_page import (
    FigurePage,
    FigureView,
    Section,
    Table,
    csv_file,
    figure_view,
)
from mlpmixer.report.pareto_plots import FrontPoint, accuracy_front
from mlpmixer.studies.comparison import ComparisonStudy, pareto_front
from mlpmixer.studies.difference import paired_difference
from mlpmixer.studies.grid import Grid
from mlpmixer.studies.outputs import (
    StudyReport,
    budget_note,
    mean_percent,
    progress_note,
    write_outputs,
)

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
                "accuracies": [row["accuracy"] for row in own],
                "test_images": own[0]["test_images"],
                "classes": own[0]["classes"],
                "course": own[0]["course"],
                "training_memory_bytes": max(row["training_memory_bytes"] for row in own),
                "images_per_second": speeds[model]["images_per_second"],
                "best_batch_size": speeds[model]["batch_size"],
            }
        )
    return found


def report_comparison(
    study: ComparisonStudy, grid: Grid, commands: Mapping[str, str]
) -> StudyReport:
    """Write the study's outputs; returns what was found.

    Raises:
        MixerError: a file cannot be written.
    """
    speeds = grid.result(grid.first[0])
    assert speeds is not None
    models = compared(grid.rows(), speeds)
    fast = pareto_front(
        (row["model"], -row["images_per_second"], row["accuracy"]) for row in models
    )
    recipe = next(iter(study.recipes.values()))
    equal = recipe.schedule.minutes is not None  # but for what validation took off the clock
    cheap = pareto_front(
        (row["model"], 0 if equal else row["core_hours"], row["accuracy"]) for row in models
    )
    sentences = findings(models, fast, cheap)
    table = side_by_side(models)
    page = FigurePage(
        title="The families side by side",
        subtitle=tuple(filter(None, (recipe.data.data, _budget(study), progress_note(grid)))),
        sections=(
            Section(
                "fronts",
                "What accuracy costs",
                "A model on the line is beaten by no other in both numbers.",
                (
                    _by_speed(grid, models, fast),
                    _by_cost(grid, models, cheap),
                ),
                table=table,
            ),
        ),
        findings=(*sentences, _PAPER),
        commands=commands,
    )
    summary = {"findings": sentences, "models": models, "throughput": speeds}
    return StudyReport(models, table, sentences, write_outputs(grid, page, summary))


def _budget(study: ComparisonStudy) -> str:
    """Say what each training was given; with a budget in FLOPs the steps differ."""
    schedules = [recipe.schedule for recipe in study.recipes.values()]
    alike = len({schedule.steps for schedule in schedules}) == 1
    return budget_note(schedules[0]) if alike else "the same FLOPs for each"


def side_by_side(models: Sequence[Mapping[str, Any]]) -> Table:
    """Return the paper's table (its table 2) for one data set; highest accuracy, speed stressed."""
    several = all(row["classes"] > METRICS["top5"].above_classes for row in models)
    top5 = {"top-5": lambda row: percent(row["top5"])} if several else {}
    columns: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "accuracy": lambda row: mean_percent(row["accuracies"]),
        **top5,
        "images/s": lambda row: number(row["images_per_second"]),
        "core-hours": lambda row: f"{row['core_hours']:.3g}",
        "parameters": lambda row: magnitude(round(row["parameters"])),
        "GMACs": lambda row: f"{row['gmacs']:.3g}",
        "training memory": lambda row: memory(row["training_memory_bytes"]),
    }
    titles = ("model", *columns)

    def highest(measure: str, title: str) -> tuple[int, int]:
        best = max(range(len(models)), key=lambda row: models[row][measure])
        return best, titles.index(title)

    return Table(
        titles,
        tuple((row["model"], *(word(row) for word in columns.values())) for row in models),
        best=frozenset({highest("accuracy", "accuracy"), highest("images_per_second", "images/s")}),
    )


def findings(
    table: Sequence[Mapping[str, Any]], fast: Sequence[str], cheap: Sequence[str]
) -> tuple[str, ...]:
    """Return what the table says, a sentence each."""
    best = max(table, key=lambda row: row["accuracy"])
    quickest = max(table, key=lambda row: row["images_per_second"])
    return (
        f"{best['model']} is the most accurate with {percent(best['accuracy'])}"
        f"{_rivals(best, table)}.",
        f"{quickest['model']} is the fastest with {number(quickest['images_per_second'])} "
        "images a second.",
        f"On the front of accuracy and throughput: {', '.join(fast)}.",
        f"On the front of accuracy and training cost: {', '.join(cheap)}.",
    )


def _rivals(best: Mapping[str, Any], table: Sequence[Mapping[str, Any]]) -> str:
    """Say which other models are within the margin of chance."""
    near = []
    for row in table:
        seeds = min(best["seeds"], row["seeds"])
        if row is not best and seeds:
            apart = paired_difference(
                best["accuracies"][:seeds], row["accuracies"][:seeds], best["test_images"]
            )
            if not apart.distinguishable:
                near.append(
                    f"{row['model']} ({percent(apart.mean)} behind, ± {percent(apart.margin)})"
                )
    return f"; it cannot be told from {', '.join(near)}" if near else ""


def _by_speed(grid: Grid, models: Sequence[Mapping[str, Any]], best: Sequence[str]) -> FigureView:
    columns = ("model", "images_per_second", "accuracy")
    return figure_view(
        accuracy_front(
            [_candidate(row, row["images_per_second"], best) for row in models], "images a second"
        ),
        grid.out,
        name="accuracy_by_images_per_second",
        title="Accuracy against throughput",
        alt="Each model's accuracy against the images that it classifies in a second.",
        caption="Up is better, and so is to the right. Throughput is that of inference, each "
        "model at its best batch size, all in turn.",
        data=csv_file(
            "accuracy_by_images_per_second", {name: [r[name] for r in models] for name in columns}
        ),
    )


def _by_cost(grid: Grid, models: Sequence[Mapping[str, Any]], best: Sequence[str]) -> FigureView:
    candidates = [_candidate(row, row["core_hours"], best, row["course"]) for row in models]
    points = [
        (one.name, cost, accuracy, part)
        for one in candidates
        for part, course in (("validation", one.trail), ("test", [(one.x, one.accuracy)]))
        for cost, accuracy in course
    ]
    columns = ("model", "core_hours", "accuracy", "images")
    return figure_view(
        accuracy_front(candidates, "core-hours of training"),
        grid.out,
        name="accuracy_by_core_hours",
        title="Accuracy against training cost",
        alt="Each model's accuracy against the core-hours of its training.",
        caption="Up is better, and so is to the left. Points are test accuracies; the lines to "
        "them are validation accuracies while the first seed was trained.",
        data=csv_file(
            "accuracy_by_core_hours",
            dict(zip(columns, map(list, zip(*points, strict=True)), strict=True)),
        ),
    )


def _candidate(
    row: Mapping[str, Any], cost: float, best: Sequence[str], trail: Sequence[Any] = ()
) -> FrontPoint:
    model = row["model"]
    return FrontPoint(
        model,
        model.partition("_")[0],
        cost,
        row["accuracy"],
        model in best,
        [(float(spent), float(accuracy)) for spent, accuracy in trail],
    )
