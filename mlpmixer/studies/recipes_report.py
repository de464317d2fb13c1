"""What a search found: the ranking, the rungs, each option by itself, and the winning recipe."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from mlpmixer.files import write_text
from mlpmixer.formatting import counted, duration, percent, printable, shortened
from mlpmixer.report.figure_page import (
    FigurePage,
    FigureView,
    Section,
    Table,
    csv_file,
    figure_view,
)
from mlpmixer.report.rung_plots import accuracy_by_rung
from mlpmixer.studies.difference import Difference, paired_difference, pooled_spread
from mlpmixer.studies.grid import Grid
from mlpmixer.studies.halving import Halving
from mlpmixer.studies.option_grid import AS_IT_IS, in_words
from mlpmixer.studies.outputs import StudyReport, mean_percent, progress_note, write_outputs
from mlpmixer.studies.recipes import MEASURE, RecipeStudy, main_effects
from mlpmixer.training.finished_run import OUTCOME
from mlpmixer.training.state import flat_values

WINNER = "winner.toml"
_NAMED = 3
"""Failures that a sentence names."""


def report_recipes(study: RecipeStudy, grid: Grid, commands: Mapping[str, str]) -> StudyReport:
    """Write the study's outputs, and the winning recipe where all is done; returns what was found.

    Raises:
        MixerError: a file cannot be written.
    """
    assert isinstance(grid, Halving)
    ranked = ranking(study, grid)
    best = ranked[0]["candidate"]
    sentences = findings(study, grid, ranked)
    table = ranking_table(study, grid, ranked)
    if grid.finished:
        write_text(grid.out / WINNER, winning_recipe(study, grid, best))
        commands = {
            **commands,
            "Train by the winning recipe": shlex.join(
                ["mixer", "train", "--recipe", str(grid.out / WINNER)]
            ),
        }
    budgets = f"{study.budget(len(study.rungs) - 1):g} {study.unit} in the last rung"
    page = FigurePage(
        title="Which training options help?",
        subtitle=tuple(
            filter(
                None,
                (
                    study.recipe.data.data,
                    f"{counted(len(study.candidates), 'candidate')} in "
                    f"{counted(len(study.rungs), 'rung')}, {budgets}",
                    progress_note(grid) if grid.finished else "The search is not finished.",
                ),
            )
        ),
        sections=(
            Section(
                "rungs",
                "Who went on, and who won",
                "In each rung every candidate that is left trains anew with the same budget. The "
                f"best go on to a budget {study.factor} times as large, and the recipe as it is "
                "goes with them to compare with.",
                (_figure(study, grid, best),),
                note="Accuracies are those of validation images. ± of an accuracy is the standard "
                "deviation over the seeds. A difference is to the winner in the same rung, with "
                "its 95 % margin: by the number of images and, with several seeds, by the spread "
                "over them of all candidates in that rung.",
                table=table,
            ),
            Section(
                "options",
                "Each option by itself",
                "The mean validation accuracy of all candidates of the first rung that took a "
                "value, whatever else they took. Its budget is short: what keeps a network from "
                "overfitting, such as mixing or strong augmentation, gains with longer ones.",
                table=effects_table(study, grid),
            ),
        ),
        findings=sentences,
        commands=commands,
    )
    summary = {"findings": sentences, "ranking": ranked, "failures": grid.failures}
    return StudyReport(ranked, table, sentences, write_outputs(grid, page, summary))


def ranking(study: RecipeStudy, grid: Halving) -> list[dict[str, Any]]:
    """Return the candidates, the best first: by the rung that they reached, then by accuracy.

    Each has its changes, rung and budget reached, accuracies by seed, the seconds of a training,
    and how far it is behind the winner in that rung, with the 95 % margin.
    """
    reached = grid.reached()
    rows: list[dict[str, Any]] = []
    for rung in reversed(range(grid.told)):
        own = [name for name in grid.ranking(rung) if reached[name] == rung]
        rows += [_row(study, grid, name, rung) for name in own]
    winner = rows[0]["candidate"]
    for row in rows:
        behind = _behind(grid, winner, row["candidate"], row["rung"] - 1)
        row["behind"] = None if behind is None else behind.mean
        row["margin"] = None if behind is None else behind.margin
    return rows


def _row(study: RecipeStudy, grid: Halving, name: str, rung: int) -> dict[str, Any]:
    found = grid.found(name, rung)
    return {
        "candidate": name,
        "changes": dict(study.by_name[name].changes),
        "rung": rung + 1,
        study.unit: study.budget(rung),
        "accuracy": fmean(one[MEASURE] for one in found),
        "accuracies": [one[MEASURE] for one in found],
        "seconds": fmean(one["seconds"] for one in found),
    }


def _behind(grid: Halving, winner: str, name: str, rung: int) -> Difference | None:
    """Return how much more accurate the winner is in a rung; None of itself."""
    best, own = grid.found(winner, rung), grid.found(name, rung)
    if winner == name or not best or not own:
        return None
    images = best[0]["validation_images"]
    spread = pooled_spread([grid.accuracies(one, rung) or [0.0] for one in grid.ranking(rung)])
    winners, others = ([one[MEASURE] for one in found] for found in (best, own))
    return paired_difference(winners, others, images, spread)


def ranking_table(study: RecipeStudy, grid: Halving, ranked: Sequence[Mapping[str, Any]]) -> Table:
    """Return the ranking as people read it, a column for each option that is varied."""
    axes = {name: choices for name, choices in study.options.axes.items() if len(choices) > 1}
    own = flat_values(study.recipe)
    places = list(study.options.axes)

    def choice(candidate: str, axis: str) -> str:
        taken = study.by_name[candidate].places
        if taken is None:
            fields = {name: own[name] for name in axes[axis][0]}
            return _choice(axis, fields) if list(fields) == [axis] else "as it is"
        return _choice(axis, axes[axis][taken[places.index(axis)]])

    return Table(
        (*axes, "trained for", "validation", "behind the best", "time"),
        tuple(
            (
                *(choice(row["candidate"], axis) for axis in axes),
                f"{row[study.unit]:g} {study.unit}",
                mean_percent(row["accuracies"]),
                "" if row["behind"] is None else _with_margin(row["behind"], row["margin"]),
                duration(row["seconds"]),
            )
            for row in ranked
        ),
        names=len(axes),
        best=frozenset({(0, len(axes) + 1)}),
    )


def effects_table(study: RecipeStudy, grid: Halving) -> Table:
    """Return the mean accuracy of the first rung by each value of each option."""
    rows = []
    for axis, choices in main_effects(study, grid).items():
        for fields, accuracies in choices:
            mean = percent(fmean(accuracies)) if accuracies else "none tried"
            rows.append((axis, _choice(axis, fields), str(len(accuracies)), mean))
    return Table(("option", "value", "candidates", "mean accuracy"), tuple(rows), names=2)


def findings(
    study: RecipeStudy, grid: Halving, ranked: Sequence[Mapping[str, Any]]
) -> tuple[str, ...]:
    """Return what the ranking says, a sentence each."""
    winner = ranked[0]
    name, amount = winner["candidate"], f"{winner[study.unit]:g} {study.unit}"
    so_far = "" if grid.finished else "So far: "
    found = [
        f"{so_far}Best after {amount}: {_told(winner['changes'])}, with "
        f"{mean_percent(winner['accuracies'])} of the validation images right."
    ]
    base = next((row for row in ranked if row["candidate"] == AS_IT_IS), None)
    if base is not None and base is not winner and base["behind"] is not None:
        doubt = "" if abs(base["behind"]) > base["margin"] else ", which chance may explain"
        found.append(
            f"It gains {_with_margin(base['behind'], base['margin'])} over the recipe as it "
            f"is{doubt}."
        )
    rivals = [row for row in ranked[1:] if row["rung"] == winner["rung"]]
    alike = [row for row in rivals if row["behind"] <= row["margin"]]
    if rivals:
        found.append(
            f"In that rung, {len(alike)} of {len(rivals)} others cannot be told from it: they lie "
            "within the margins."
        )
    if grid.finished:
        found += _on_the_test_images(grid, name, winner["rung"] - 1)
        found.append(f"The winning recipe: {printable(str(grid.out / WINNER))}.")
    if grid.failures:
        told = [
            f"{failed} ({shortened(reason, 200)})"
            for failed, reason in list(grid.failures.items())[:_NAMED]
        ]
        more = ", …" if len(grid.failures) > _NAMED else ""
        several = "s" if len(grid.failures) > 1 else ""
        found.append(f"{len(grid.failures)} candidate{several} failed: {', '.join(told)}{more}.")
    return tuple(found)


def _on_the_test_images(grid: Halving, winner: str, rung: int) -> list[str]:
    """Say what the winner and the recipe as it is reach on images that nothing was chosen by."""
    told = {}
    for name, title in {winner: "the winner", AS_IT_IS: "the recipe as it is"}.items():
        outcomes = [json.loads(file.read_text()) for file in _outcomes(grid, name, rung)]
        accuracies = [one["accuracy"] for one in outcomes if one["split"] == "test"]
        if accuracies:
            told[title] = mean_percent(accuracies)
    if not told:
        return []
    parts = ", ".join(f"{title} {accuracy}" for title, accuracy in told.items())
    return [f"On the test images, by which nothing was chosen: {parts}."]


def _outcomes(grid: Halving, name: str, rung: int) -> list[Path]:
    files = [grid.folder(cell) / "training" / OUTCOME for cell in grid.cells_of(name, rung)]
    return [file for file in files if file.exists()]


def winning_recipe(study: RecipeStudy, grid: Halving, name: str) -> str:
    """Return a recipe file of a candidate with the whole budget, and where it comes from."""
    rung = len(study.rungs) - 1
    accuracy = mean_percent(grid.accuracies(name, rung) or [])
    changed = _told(study.by_name[name].changes)
    return (
        f"# the best of {counted(len(study.candidates), 'candidate')} on "
        f"{printable(study.recipe.data.data)}\n"
        f"# Source: `mixer study recipes`, {counted(len(study.rungs), 'rung')}, "
        f"{counted(study.seeds, 'seed')}.\n"
        f"# It changes: {changed}.\n"
        f"# Result: {accuracy} of the validation images, by which it was chosen.\n"
        f"{study.recipe_of(name, rung).to_toml()}"
    )


def _told(changes: Mapping[str, Any]) -> str:
    """Return what a candidate changes, in words."""
    if not changes:
        return "the recipe as it is"
    return ", ".join(f"{name} {in_words(value)}" for name, value in changes.items())


def _choice(axis: str, fields: Mapping[str, Any]) -> str:
    """Return what an axis's choice sets; of its only field the value alone."""
    if list(fields) == [axis]:
        return in_words(fields[axis])
    return ", ".join(f"{name} {in_words(value)}" for name, value in fields.items()) or "as it is"


def _with_margin(mean: float, margin: float) -> str:
    return f"{percent(mean).removesuffix(' %')} ± {percent(margin)}"


def _figure(study: RecipeStudy, grid: Halving, best: str) -> FigureView:
    climbs: dict[str, list[list[float]]] = {}
    titles = ("candidate", "rung", study.unit, "seed", MEASURE)
    columns: dict[str, list[Any]] = {title: [] for title in titles}
    for rung in range(grid.told):
        for name in sorted(grid.ranking(rung), key=grid.names.index):
            accuracies = grid.accuracies(name, rung) or []
            climbs.setdefault(name, []).append(accuracies)
            for seed, accuracy in enumerate(accuracies):
                row = (name, rung + 1, study.budget(rung), seed, accuracy)
                for column, value in zip(columns.values(), row, strict=True):
                    column.append(value)
    words = [
        f"{study.budget(rung):g} {study.unit}\n{len(grid.members(rung)) or 'some'} candidates"
        for rung in range(len(study.rungs))
    ]
    return figure_view(
        accuracy_by_rung(climbs, words, best=best, reference=AS_IT_IS),
        grid.out,
        name="rungs",
        title="Every candidate through the rungs",
        alt="Validation accuracy of each candidate against the rungs, up to where it was left out.",
        caption="A line ends where its candidate was left out. With several seeds the points are "
        "means, and bars reach from lowest to highest.",
        data=csv_file("rungs", {name: np.array(column) for name, column in columns.items()}),
    )
