"""What the permutation study found: sentences, figures, and what the paper found."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mlpmixer.data.dataset import Split
from mlpmixer.data.picture import picture_for
from mlpmixer.formatting import percent
from mlpmixer.models.interface import ImageModel
from mlpmixer.report.figure_page import (
    FigurePage,
    FigureView,
    Section,
    Table,
    csv_file,
    figure_view,
    npz_file,
)
from mlpmixer.report.shuffle_plots import (
    INPUT_TITLES,
    Course,
    permutation_curves,
    shuffled_pictures,
)
from mlpmixer.studies.difference import Difference
from mlpmixer.studies.grid import Grid
from mlpmixer.studies.outputs import (
    StudyReport,
    budget_note,
    mean_percent,
    progress_note,
    write_outputs,
)
from mlpmixer.studies.permutation import (
    INPUTS,
    CoursesApart,
    PermutationStudy,
    courses_apart,
    difference,
)
from mlpmixer.training.plan import Plan, plan

EXAMPLES = 7
_PAPER = (
    "The paper found the same curve for a Mixer on untouched and on patch-shuffled images, and "
    "that shuffling all pixels costs a Mixer much less than a ResNet, which loses on both "
    "(section 3.4 of arXiv 2105.01601)."
)


def report_permutation(
    study: PermutationStudy,
    grid: Grid,
    commands: Mapping[str, str],
) -> StudyReport:
    """Write the study's outputs; returns what was found.

    Raises:
        MixerError: a file cannot be written.
    """
    rows = grid.rows()
    sentences = findings(study, rows)
    table = accuracies(study, rows)
    training = study.training
    budget = budget_note(training.schedule)
    planned = {
        kind: plan(study.recipe(study.models[0], kind, seed=0), study.runtime) for kind in INPUTS
    }
    page = FigurePage(
        title="Who minds a shuffled input?",
        subtitle=tuple(filter(None, (training.data.data, budget, progress_note(grid)))),
        sections=(
            Section(
                "courses",
                "Training on three inputs",
                "Each input is one fixed permutation of the pixels, the same for all images.",
                (_curves(grid, rows), _examples(grid, planned)),
                table=table,
            ),
        ),
        findings=(*sentences, _PAPER),
        commands=commands,
    )
    differences = {
        model: {kind: difference(rows, model, kind) for kind in ("patches", "pixels")}
        for model in study.models
    }
    summary = {
        model: {
            kind: None if one is None else {"loss": one.mean, "margin": one.margin}
            for kind, one in kinds.items()
        }
        for model, kinds in differences.items()
    }
    path = write_outputs(grid, page, {"findings": sentences, "losses": summary})
    return StudyReport(rows, table, sentences, path)


def accuracies(study: PermutationStudy, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the accuracy of each model on each input."""

    def cell(model: str, kind: str) -> str:
        own = [r["accuracy"] for r in rows if r["model"] == model and r["input"] == kind]
        return mean_percent(own) if own else ""

    return Table(
        ("model", *(INPUT_TITLES[kind] for kind in INPUTS)),
        tuple((model, *(cell(model, kind) for kind in INPUTS)) for model in study.models),
    )


def findings(study: PermutationStudy, rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return what the accuracies say, a sentence each."""
    told = {"patches": "patches and the pixels in them", "pixels": "all pixels"}
    sentences = []
    for model in study.models:
        for kind, what in told.items():
            found = difference(rows, model, kind)
            if found is not None:
                sentences.append(f"{model}: {_effect(found, what)}")
        apart = courses_apart(rows, model, "patches")
        if apart is not None:
            sentences.append(f"{model}: {_distance(apart)}")
    return tuple(sentences)


def _effect(found: Difference, what: str) -> str:
    size = f"{percent(abs(found.mean))} ± {percent(found.margin)}"
    if not found.distinguishable:
        return f"shuffling {what} makes no difference that can be told from chance ({size})."
    verb = "costs" if found.mean > 0 else "gains"
    return f"shuffling {what} {verb} {size} of accuracy."


def _distance(apart: CoursesApart) -> str:
    told = (
        "at its validations, training on untouched and on patch-shuffled images is "
        f"{percent(apart.inputs)} apart on average"
    )
    if apart.seeds is None:
        return f"{told}."
    return f"{told}; two seeds on untouched images are {percent(apart.seeds)} apart."


def _curves(grid: Grid, rows: Sequence[Mapping[str, Any]]) -> FigureView:
    courses: dict[str, dict[str, list[Course]]] = {}
    for row in rows:
        courses.setdefault(row["model"], {}).setdefault(row["input"], []).append(row["course"])
    points = [
        (row["model"], row["input"], row["seed"], step, accuracy)
        for row in rows
        for step, accuracy in row["course"]
    ]
    columns = ("model", "input", "seed", "step", "validation_accuracy")
    values = zip(*points, strict=True)
    return figure_view(
        permutation_curves(courses),
        grid.out,
        name="courses",
        title="Validation accuracy",
        alt="Validation accuracy against steps for each model, one line for each of three inputs.",
        caption="Where two lines lie on each other the model does not mind that shuffling. "
        "With several seeds the lines are means, and the bands reach from lowest to highest.",
        data=csv_file("courses", dict(zip(columns, map(list, values), strict=True))),
        wide=True,
    )


def _examples(grid: Grid, planned: Mapping[str, Plan]) -> FigureView:
    model = planned["untouched"].model
    split = planned["untouched"].dataset.splits["train"]
    pictures = {kind: _seen(plan.model, _first(split, model)) for kind, plan in planned.items()}
    return figure_view(
        shuffled_pictures(pictures),
        grid.out,
        name="inputs",
        title="What the models see",
        alt="The same pictures untouched, with patches shuffled, with all pixels shuffled.",
        caption="The first training images, before random crops and flips.",
        data=npz_file("inputs", pictures),
        wide=True,
    )


def _first(split: Split, model: ImageModel) -> NDArray[np.uint8]:
    """Return the first images (N, H, W, 3) in the model's size."""
    height, width = model.image_size
    shown = range(min(EXAMPLES, len(split)))
    images = [picture_for(split, index, model.preprocessing) for index in shown]
    resized = [image.resize((width, height), Image.Resampling.BILINEAR) for image in images]
    return np.stack([np.array(image) for image in resized])


def _seen(model: ImageModel, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return images (N, H, W, 3) as the model's first layer sees them."""
    channels_first = torch.from_numpy(images).permute(0, 3, 1, 2)
    return np.asarray(model.cpu().seen(channels_first).permute(0, 2, 3, 1))
