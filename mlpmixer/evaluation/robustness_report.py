"""What was found on damaged images, as a table, JSON and a page."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mlpmixer.data.corruptions import CORRUPTIONS, SEVERITIES
from mlpmixer.evaluation.robustness import Robustness
from mlpmixer.files import write_json
from mlpmixer.formatting import capitalized, number, percent
from mlpmixer.measures.intervals import wilson_interval
from mlpmixer.report.corruption_plots import accuracy_by_severity, damaged_pictures
from mlpmixer.report.figure_page import (
    FigurePage,
    FigureView,
    Section,
    Table,
    csv_file,
    figure_view,
    write_page,
)

PAGE = "index.html"
JSON = "robustness.json"


def severity_table(found: Robustness) -> Table:
    """Return accuracies by corruption and severity, the means at the right and at the bottom."""
    rows = [
        (CORRUPTIONS[name].title, *map(percent, one), percent(float(np.mean(one))))
        for name, one in found.accuracies.items()
    ]
    by_severity = np.mean(list(found.accuracies.values()), axis=0)
    rows.append(("mean", *map(percent, by_severity), percent(found.mean)))
    return Table(("corruption", *map(str, SEVERITIES), "mean"), tuple(rows))


def findings(found: Robustness) -> tuple[str, ...]:
    """Return what the accuracies say, a sentence each."""
    low, high = wilson_interval(round(found.clean * found.images), found.images)
    means = {name: float(np.mean(one)) for name, one in found.accuracies.items()}
    worst = min(means, key=lambda name: means[name])
    sentences = [
        f"On the images as they are: {percent(found.clean)} "
        f"(95 %: {percent(low)} to {percent(high)}).",
        f"On damaged ones: {percent(found.mean)} on average of {len(means)} kinds in "
        f"{len(SEVERITIES)} severities, {percent(1 - found.mean)} errors.",
        f"Worst is {CORRUPTIONS[worst].title} with {percent(means[worst])}.",
    ]
    return tuple(sentences)


def write_robustness(found: Robustness, model: str, out: Path, command: str) -> Path:
    """Write the JSON and the page with its figures into the folder `out`; returns the page's path.

    Raises:
        MixerError: a file cannot be written.
    """
    write_json(out / JSON, {"model": model, **found.to_json()})
    page = FigurePage(
        title="Accuracy on damaged images",
        subtitle=(model, f"{number(found.images)} {found.split} images of {found.data}"),
        sections=(
            Section(
                "severity",
                "Accuracy against severity",
                "The kinds and severities are those of ImageNet-C (arXiv 1903.12261), with the "
                f"strengths for images of {found.strengths_for} pixels.",
                (_curves(found, out), _pictures(found, out)),
                note="The damage is computed here, so that numbers are close to those on the "
                "published images, and comparable among models measured by this program.",
                table=severity_table(found),
            ),
        ),
        findings=findings(found),
        commands={"Measure this again": command},
    )
    write_page(out / PAGE, page)
    return out / PAGE


def _curves(found: Robustness, out: Path) -> FigureView:
    groups: dict[str, Mapping[str, list[float]]] = {}
    for name, accuracies in found.accuracies.items():
        one = CORRUPTIONS[name]
        own = dict(groups.get(capitalized(one.group), {}))
        groups[capitalized(one.group)] = {**own, one.title: list(accuracies)}
    data: dict[str, Sequence[str | float]] = {
        "corruption": [name for name in found.accuracies for _ in SEVERITIES],
        "severity": [severity for _ in found.accuracies for severity in SEVERITIES],
        "accuracy": [one for accuracies in found.accuracies.values() for one in accuracies],
    }
    return figure_view(
        accuracy_by_severity(groups, found.clean),
        out,
        name="severity",
        title="Accuracy against severity",
        alt="Accuracy against the severity of the damage, one line a corruption.",
        caption="Severity 0, and the dotted line, are the images as they are.",
        data=csv_file("severity", data),
        wide=True,
    )


def _pictures(found: Robustness, out: Path) -> FigureView:
    titles = {"": "as it is", **{name: CORRUPTIONS[name].title for name in found.accuracies}}
    shown = {
        titles[name]: pixels.permute(1, 2, 0).numpy() for name, pixels in found.examples.items()
    }
    means = {name: float(np.mean(one)) for name, one in found.accuracies.items()}
    return figure_view(
        damaged_pictures(shown),
        out,
        name="examples",
        title="What the damage looks like",
        alt="The first image as it is, and damaged by each corruption in severity 3.",
        caption="The first image, as it is and in severity 3 of 5.",
        data=csv_file("means", {"corruption": list(means), "accuracy": list(means.values())}),
        wide=True,
    )
