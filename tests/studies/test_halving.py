"""Successive halving: who goes on to which rung, from results alone."""

import io
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mlpmixer.errors import MixerError
from mlpmixer.run.console import Console
from mlpmixer.studies.grid import Cell
from mlpmixer.studies.halving import Halving, Rung, plan_rungs

SCORES = {"as-it-is": 0.1, "bad": 0.2, "fair": 0.3, "good": 0.4, "late": 0.25, "best": 0.5}


def score(name: str, rung: int, seed: int, folder: Path, console: Console) -> Mapping[str, Any]:
    """Compute a training's accuracy; leaves a line for every call."""
    with (folder.parent / "calls").open("a") as file:
        file.write(f"{folder.name}\n")
    if (folder.parent.parent / f"stop-{name}-{rung}").exists():
        raise KeyboardInterrupt
    if (folder.parent.parent / f"fail-{name}").exists():
        raise MixerError(f"the loss of {name} became nan.")
    return {"accuracy": SCORES[name] + 0.01 * seed + (0.4 * rung if name == "late" else 0)}


def cells_of(name: str, rung: int, *, seeds: int = 1) -> list[Cell]:
    return [
        Cell({"candidate": name, "rung": rung, "seed": seed}, {}, partial(score, name, rung, seed))
        for seed in range(seeds)
    ]


def search(out: Path, factor: int = 2, seeds: int = 1) -> Halving:
    rungs = plan_rungs(len(SCORES), factor, 5)
    make = partial(cells_of, seeds=seeds)
    return Halving(out, rungs, list(SCORES), make, measure="accuracy", always="as-it-is")


def calls(out: Path) -> list[str]:
    return (out / "cells" / "calls").read_text().splitlines()


@pytest.fixture
def console() -> Console:
    return Console("plain", out=io.StringIO(), err=io.StringIO())


def test_each_rung_has_fewer_candidates_and_a_larger_budget() -> None:
    assert plan_rungs(27, 3, 9) == (Rung(27, 1 / 9), Rung(9, 1 / 3), Rung(3, 1.0))
    assert plan_rungs(10, 3, 2) == (Rung(10, 1 / 3), Rung(4, 1.0))
    assert [rung.candidates for rung in plan_rungs(9, 2, 9)] == [9, 5, 3, 2]
    assert plan_rungs(2, 3, 9) == plan_rungs(2, 2, 9) == (Rung(2, 1.0),)  # one alone is no choice
    assert plan_rungs(27, 3, 1) == (Rung(27, 1.0),)


def test_the_best_go_on_and_so_does_the_one_to_compare_with(
    tmp_path: Path, console: Console
) -> None:
    grid = search(tmp_path)
    assert grid.members(1) == ()
    grid.run(console)
    assert grid.members(1) == ("as-it-is", "fair", "good", "best")
    assert grid.members(2) == ("as-it-is", "good", "best")
    assert grid.ranking(2) == ["best", "good", "as-it-is"]
    assert grid.reached() == {"late": 0, "bad": 0, "fair": 1, "good": 2, "best": 2, "as-it-is": 2}
    assert grid.finished
    assert len(calls(tmp_path)) == len(grid.cells) == 6 + 4 + 3


def test_candidates_are_ranked_by_the_mean_over_their_seeds(
    tmp_path: Path, console: Console
) -> None:
    grid = search(tmp_path, seeds=2)
    grid.run(console)
    assert grid.accuracies("best", 0) == [0.5, 0.51]
    assert len(calls(tmp_path)) == 2 * (6 + 4 + 3)


def test_a_stopped_search_goes_on_with_what_is_missing(tmp_path: Path, console: Console) -> None:
    tmp_path.joinpath("stop-good-1").touch()
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path).run(console)
    stopped = search(tmp_path)
    assert not stopped.finished
    assert stopped.reportable()
    assert stopped.members(1) == ("as-it-is", "fair", "good", "best")
    assert stopped.members(2) == ()
    tmp_path.joinpath("stop-good-1").unlink()
    stopped.run(console)
    assert stopped.finished
    whole = calls(tmp_path)
    assert len(whole) == 13 + 1  # the one that was stopped was called twice
    search(tmp_path).run(console)
    assert calls(tmp_path) == whole


def test_a_candidate_that_fails_is_left_out_and_the_search_goes_on(
    tmp_path: Path, console: Console
) -> None:
    tmp_path.joinpath("fail-best").touch()
    grid = search(tmp_path)
    grid.run(console)
    assert grid.finished
    assert grid.failures == {"best": "the loss of best became nan."}
    assert grid.members(1) == ("as-it-is", "fair", "good", "late")
    assert grid.ranking(2)[0] == "late"
    tmp_path.joinpath("fail-best").unlink()  # put right: it is tried again, and so is what follows
    again = search(tmp_path)
    again.run(console)
    assert again.failures == {}
    assert again.members(2) == ("as-it-is", "good", "best")


def test_a_rung_whose_candidates_all_fail_ends_the_search(tmp_path: Path, console: Console) -> None:
    for name in SCORES:
        tmp_path.joinpath(f"fail-{name}").touch()
    with pytest.raises(MixerError, match="all 6 candidates failed; as-it-is: the loss of as-it-is"):
        search(tmp_path).run(console)
