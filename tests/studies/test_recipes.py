"""The search for training options, from its command to the winning recipe."""

import json
from pathlib import Path

import pytest
from study_cells import results
from training_steps import TrainingSteps

from mlpmixer.cli.main import main
from mlpmixer.report.rung_plots import accuracy_by_rung
from mlpmixer.studies.difference import paired_difference, pooled_spread
from mlpmixer.training.recipe import Recipe

GRID = """
[grid]
learning_rate = [0.003, 0.0]
weight_decay = [0.05, 0.1]
"""
MORE = ["--steps", "60", "--evaluations", "1"]


@pytest.fixture
def command(tmp_path: Path, recipe: Path) -> list[str]:
    grid = tmp_path / "grid.toml"
    grid.write_text(GRID)
    return [
        *("study", "recipes", "--data", "digits", "--recipe", str(recipe), "--grid", str(grid)),
        *("--factor", "2", "--rungs", "2", "--out", str(tmp_path / "study")),
    ]


def test_the_best_candidates_go_on_and_the_winner_is_a_recipe(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study"
    assert main([*command, *MORE, "--seeds", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    ranked = found["results"]
    assert len(ranked) == 4
    learning = {"as-it-is", "weight_decay=0.1"}  # the others do not learn
    assert {row["candidate"] for row in ranked if row["rung"] == 2} == learning
    assert {row["steps"] for row in ranked if row["rung"] == 2} == {60}
    assert {row["steps"] for row in ranked if row["rung"] == 1} == {30}
    for row in ranked:
        assert len(row["accuracies"]) == 2
        assert row["accuracy"] == pytest.approx(sum(row["accuracies"]) / 2)
    assert ranked[0]["behind"] is None
    assert all(row["behind"] >= 0 and row["margin"] > 0 for row in ranked[1:])

    winner = study / "winner.toml"
    best = Recipe.from_toml(winner)
    assert best.schedule.steps == 60
    assert best.optimizer.learning_rate == 0.003
    assert best.optimizer.weight_decay == {"as-it-is": 0.05}.get(ranked[0]["candidate"], 0.1)
    assert str(winner) in "\n".join(found["findings"])
    assert main(["train", "--recipe", str(winner), "--out", str(tmp_path / "run"), "--json"]) == 0
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["validation_accuracy"] == ranked[0]["accuracies"][0]  # by seed 0

    page = (study / "index.html").read_text()
    assert f"mixer train --recipe {winner}" in page
    assert "On the test images, by which nothing was chosen" in page
    assert "test_accuracy" not in (study / "results.csv").read_text()
    rungs = (study / "data" / "rungs.csv").read_text().splitlines()
    assert rungs[0] == "candidate,rung,steps,seed,validation_accuracy"
    assert len(rungs) == 1 + 2 * (4 + 2)
    assert not list(study.glob("cells/*/training/last"))
    assert main([*command, *MORE, "--seeds", "2"]) == 0
    assert "8 of 8 cells are there already" in capsys.readouterr().out


def test_a_search_interrupted_in_its_second_rung_ends_as_if_it_had_not_been(
    command: list[str],
    tmp_path: Path,
    training_steps: TrainingSteps,
    capsys: pytest.CaptureFixture[str],
) -> None:
    parts = [*command[:-1], str(tmp_path / "parts"), *MORE]
    assert main([*command, *MORE]) == 0
    whole = list(training_steps.taken)
    training_steps.taken.clear()
    training_steps.interrupt_at = 4 * 30 + 3  # in the first training of the second rung
    assert main(parts) == 130
    page = (tmp_path / "parts" / "index.html").read_text()
    assert "The search is not finished." in page
    assert "So far: " in page
    assert not (tmp_path / "parts" / "winner.toml").exists()
    assert main(parts) == 0
    assert results(tmp_path / "parts") == results(tmp_path / "study")
    assert training_steps.taken == whole
    assert (tmp_path / "parts" / "winner.toml").exists()
    capsys.readouterr()


def test_a_candidate_that_diverges_is_named_and_the_search_goes_on(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = tmp_path / "grid.toml"
    grid.write_text("[grid]\nlearning_rate = [1000.0, 0.002]\nclip_norm = [0.0]\n")
    assert main([*command, *MORE, "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert "learning_rate=1000.0+clip_norm=0.0" in found["findings"][-1]
    assert "1 candidate failed" in found["findings"][-1]
    assert "Use a lower --learning-rate" in captured.err
    assert len(found["results"]) == 2
    assert "failed" in (tmp_path / "study" / "index.html").read_text()


def test_a_dry_run_tells_the_rungs_and_the_time_and_computes_nothing(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, *MORE, "--seeds", "3", "--dry-run", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert len(planned["candidates"]) == 4
    assert [one["candidates"] for one in planned["rungs"]] == [4, 2]
    assert [one["trainings"] for one in planned["rungs"]] == [12, 9]
    assert [one["steps"] for one in planned["rungs"]] == [30, 60]
    assert planned["seconds"] == pytest.approx(sum(one["seconds"] for one in planned["rungs"]))
    assert planned["seconds"] > 0
    assert not (tmp_path / "study").exists()
    assert main([*command, *MORE, "--dry-run"]) == 0
    assert "candidates" in capsys.readouterr().out


def test_budgets_may_be_epochs(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--epochs", "0.1", "--dry-run", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert [one["epochs"] for one in planned["rungs"]] == [0.05, 0.1]


@pytest.mark.parametrize(
    ("grid", "options", "message"),
    [
        (GRID, [], "one budget: give --steps or --epochs"),
        (GRID, ["--steps", "9", "--epochs", "1"], "one budget"),
        (GRID, [*MORE, "--factor", "1"], "--factor 1 is out of range"),
        (GRID, ["--steps", "9", "--evaluations", "0"], "--evaluations 1"),
        ("[grid]\nweight_decay = [0.05]", MORE, "the grid changes nothing"),
        ("[grid]\nrepeats = [3]", MORE, "repeats=3: --repeats 3 does not divide"),
        ("[grid]\nerase = [3]", MORE, "erase = 3.0 is out of range"),
    ],
)
def test_wrong_use_is_named_before_the_work(
    command: list[str],
    grid: str,
    options: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "grid.toml").write_text(grid)
    assert main([*command, *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


def test_data_without_validation_images_is_refused(
    command: list[str], recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe.write_text(recipe.read_text() + "validation_fraction = 0.0\n")
    assert main([*command, *MORE]) == 2
    assert "no validation images to tell candidates apart" in capsys.readouterr().err


def test_a_line_ends_where_its_candidate_was_left_out() -> None:
    climbs = {
        "as-it-is": [[0.5, 0.6], [0.7, 0.7]],
        "erase=0.1": [[0.4, 0.4]],
        "repeats=3": [[0.6, 0.6], [0.9, 0.8]],
    }
    words = ["1 epochs", "3 epochs"]
    figure = accuracy_by_rung(climbs, words, best="repeats=3", reference="as-it-is")
    (axes,) = figure.axes
    drawn = {tuple(line.get_ydata().round(3)) for line in axes.get_lines()}  # type: ignore[union-attr]
    assert {(0.55, 0.7), (0.4,), (0.6, 0.85)} <= drawn
    assert [label.get_text() for label in axes.get_xticklabels()] == words
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert set(labels) == {"the best", "the recipe as it is", "the others"}


def test_the_margin_of_a_difference_has_two_sources() -> None:
    one = paired_difference([0.9], [0.8], 1000)
    assert one.mean == pytest.approx(0.1)
    assert one.margin == pytest.approx(1.96 * ((0.09 + 0.16) / 1000) ** 0.5, rel=1e-3)
    assert pooled_spread([[0.9], [0.8]]) is None
    spread = pooled_spread([[0.9, 0.7], [0.8, 0.8], [0.5, 0.6, 0.7]])
    assert spread is not None
    assert spread.freedom == 4
    assert spread.deviation == pytest.approx(((0.02 + 0.0 + 0.02) / 4) ** 0.5)
    pooled = paired_difference([0.9, 0.7], [0.8, 0.8], 10**9, spread)
    assert pooled.margin == pytest.approx(2.776 * 0.1, rel=1e-3)  # of four degrees
    several = paired_difference([0.9, 0.7], [0.8, 0.8], 10**9)
    assert several.mean == pytest.approx(0.0)
    assert several.margin == pytest.approx(12.706 * 0.1, rel=1e-3)  # Student's t of one degree
