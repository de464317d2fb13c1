"""Ranks that are killed while they write a sharded state leave one to go on from, bit for bit."""

import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rank_processes import kill_ranks, on_ranks

import mlpmixer
from mlpmixer.ranks import Ranks
from mlpmixer.run.console import Console
from mlpmixer.runtime import Runtime
from mlpmixer.training import loop
from mlpmixer.training.recipes import find_recipe
from mlpmixer.training.sharded_state import complete_states
from mlpmixer.training.train import train

STEPS = 6
TINY = {
    **{"steps": STEPS, "batch_size": 32, "evaluations": 0, "workers": 0, "shard": "always"},
    **{"depth": 1, "width": 16, "tokens_mlp_dim": 8, "channels_mlp_dim": 32, "patch_size": 2},
    **{"optimizer": "muon", "ema": 0.9, "stochastic_depth": 0.1},
}


def whole(ranks: Ranks, out: Path, resume: bool = False, slow: bool = False) -> bool:
    """Train with a state after every step; `slow` takes its time to bring files to the disk."""
    loop.SAVE_EVERY = 0.0
    if slow:
        bring: Callable[[int], None] = os.fsync

        def bring_slowly(descriptor: int) -> None:
            time.sleep(0.1)
            bring(descriptor)

        os.fsync = bring_slowly  # type: ignore[assignment]
    console = Console("json", out=io.StringIO(), err=io.StringIO())
    runtime = Runtime(torch.device("cpu"), ranks=ranks)
    recipe = find_recipe("quick").override(TINY)
    return bool(train(recipe, out, console, runtime, resume=resume)["finished"])


def losses(out: Path) -> list[tuple[int, float]]:
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(one["step"], one["loss"]) for one in records if "loss" in one]


def test_a_kill_during_a_save_changes_no_bit_of_the_outcome(tmp_path: Path) -> None:
    goal, run = tmp_path / "goal", tmp_path / "run"
    assert on_ranks(2, whole, goal) == [True, True]

    def begun() -> list[Path]:
        """Return the states of which a file is being written, behind two that are complete."""
        complete = complete_states(run / "last")
        folders = {file.parent for file in (run / "last").glob("sharded-*/*.distcp*")}
        return sorted(folders - set(complete)) if len(complete) == 2 else []

    kill_ranks(2, whole, run, False, True, when=lambda: bool(begun()))
    assert begun(), "the save that was to be cut short is complete"
    assert len(losses(run)) < STEPS
    assert on_ranks(2, whole, run, True) == [True, True]
    assert losses(run) == losses(goal)
    one, other = (mlpmixer.load(out).state_dict() for out in (run, goal))
    assert all(torch.equal(one[name], other[name]) for name in other)
