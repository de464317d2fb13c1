"""Trainings whose weights are cut up over the ranks equal those of one process."""

import io
import json
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rank_processes import on_ranks

import mlpmixer
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.randomness import generator
from mlpmixer.ranks import ALONE, Ranks
from mlpmixer.run.console import Console
from mlpmixer.runtime import Runtime
from mlpmixer.training.checkpointer import newest_state
from mlpmixer.training.parallel import shards
from mlpmixer.training.recipe import Recipe
from mlpmixer.training.recipes import find_recipe
from mlpmixer.training.sharded_state import ShardedSaving, ShardedState, complete_states
from mlpmixer.training.state import Position, TrainingIdentity, clear_up, save_state
from mlpmixer.training.step import TrainingStep
from mlpmixer.training.train import train as run_recipe

BATCH = 16
IDENTITY = TrainingIdentity(("a", "b"), "images")
SHAPE = {"width": 16, "depth": 2, "tokens_mlp_dim": 8, "channels_mlp_dim": 32}
EVERY = {"optimizer": "muon", "ema": 0.5, "sam_rho": 0.05, "sam_every": 2, "accumulate": 2}
OPTIONS: dict[str, dict[str, Any]] = {
    "adamw": {"ema": 0.9},
    "muon": EVERY,
    "normuon": {"optimizer": "muon", "row_average": 0.9},
    "sgd": {"optimizer": "sgd", "learning_rate": 0.1, "sam_rho": 0.05},
}


class Trained(NamedTuple):
    rows: list[tuple[float, float]]
    """Of each step the loss and the gradient's norm."""
    logits: NDArray[np.float32]
    """Of the model that would be evaluated. Adam moves weights whose gradient is 0 but for
    rounding as fast as others: only what they do is compared."""
    held: int
    """How many numbers of the model's parameters the rank holds."""


def new_step(ranks: Ranks, options: dict[str, Any]) -> TrainingStep:
    # In bfloat16 Muon would round away what is compared here.
    import mlpmixer.training.muon as muon

    muon.multiplies_bfloat16 = lambda device: False  # type: ignore[assignment]
    torch.manual_seed(0)
    model = mlpmixer.create_model(
        "mixer_nano", image_size=8, patch_size=2, num_classes=5, stochastic_depth=0.3, **SHAPE
    )
    torch.nn.init.normal_(model.head.weight, std=0.1)  # type: ignore[union-attr, arg-type]
    recipe = Recipe().override({"batch_size": BATCH, "shard": "always", **options})
    return TrainingStep(model, recipe, Runtime(torch.device("cpu"), ranks=ranks))


def train(step: TrainingStep, steps: range) -> list[tuple[float, float]]:
    ranks, rows = step.runtime.ranks, []
    for number in steps:
        chance = generator(0, "batch", number)
        images = torch.rand(BATCH, 3, 8, 8, generator=chance) * 2 - 1
        targets = torch.eye(5)[torch.randint(5, (BATCH,), generator=chance)]
        result = step(images[ranks.own], targets[ranks.own], number, 1.0)
        (loss,) = ranks.mean([float(result.loss)])
        rows.append((loss, float(result.gradient_norm)))
    return rows


@torch.no_grad()
def logits_of(step: TrainingStep) -> NDArray[np.float32]:
    images = torch.rand(8, 3, 8, 8, generator=generator(0, "shown")) * 2 - 1
    logits: NDArray[np.float32] = step.evaluated.eval()(images).numpy()
    return logits


def held_by(step: TrainingStep) -> int:
    held = [one.to_local() if hasattr(one, "to_local") else one for one in step.model.parameters()]
    return sum(one.numel() for one in held)


def trained(ranks: Ranks, options: dict[str, Any]) -> Trained:
    step = new_step(ranks, options)
    rows = train(step, range(4))
    return Trained(rows, logits_of(step), held_by(step))


def assert_alike(one: Trained, other: Trained) -> None:
    np.testing.assert_allclose(one.rows, other.rows, rtol=2e-5)
    np.testing.assert_allclose(one.logits, other.logits, atol=1e-4)


def all_trained(ranks: Ranks) -> list[Trained]:
    return [trained(ranks, options) for options in OPTIONS.values()]


def test_ranks_that_hold_shares_of_the_model_train_as_one_process() -> None:
    alone = all_trained(ALONE)
    for answers in on_ranks(2, all_trained):
        for answer, goal in zip(answers, alone, strict=True):
            assert_alike(answer, goal)


def test_each_of_four_ranks_holds_about_a_quarter() -> None:
    alone = trained(ALONE, OPTIONS["adamw"])
    answers = on_ranks(4, trained, OPTIONS["adamw"])
    assert sum(one.held for one in answers) == alone.held
    assert max(one.held for one in answers) < 0.4 * alone.held
    assert_alike(answers[3], alone)


def begin_twice(
    ranks: Ranks, folder: Path, options: dict[str, Any]
) -> list[list[tuple[float, float]]]:
    """Save before the first step, make two steps, go back and make them again."""
    step = new_step(ranks, options)
    saving = ShardedSaving(folder, step, IDENTITY)
    saving.begin(Position())
    first = train(step, range(2))
    saving.wait()
    assert ShardedState.read_newest(folder, ranks).restore(step) == Position()
    return [first, train(step, range(2))]


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_the_state_before_the_first_step_is_gone_back_to_and_changes_nothing(
    name: str, tmp_path: Path
) -> None:
    """Also where a step has looked for sharpness meanwhile, which that state knows nothing of."""
    goal = train(new_step(ALONE, OPTIONS[name]), range(2))
    for answer in on_ranks(2, begin_twice, tmp_path, OPTIONS[name]):
        np.testing.assert_allclose(answer, [goal, goal], rtol=2e-5)


def restored_decays(ranks: Ranks, folder: Path) -> set[float]:
    step = new_step(ranks, {**OPTIONS["adamw"], "weight_decay": 0.1})
    train(step, range(1))
    saving = ShardedSaving(folder, step, IDENTITY)
    saving.begin(Position(step=1))
    saving.wait()
    other = new_step(ranks, {**OPTIONS["adamw"], "weight_decay": 0.0})
    ShardedState.read_newest(folder, ranks).restore(other)
    return {group["weight_decay"] for one in other.optimizers.all for group in one.param_groups}


def test_a_sharded_state_leaves_the_recipes_weight_decay(tmp_path: Path) -> None:
    assert on_ranks(2, restored_decays, tmp_path) == [{0.0}, {0.0}]


def gone_on_with_row_averages(ranks: Ranks, folder: Path) -> list[tuple[float, float]]:
    step = new_step(ranks, {"optimizer": "muon"})
    train(step, range(1))
    saving = ShardedSaving(folder, step, IDENTITY)
    saving.begin(Position(step=1))
    saving.wait()
    other = new_step(ranks, {"optimizer": "muon", "row_average": 0.9})
    ShardedState.read_newest(folder, ranks).restore(other)
    return train(other, range(1, 3))


def test_an_option_that_needs_more_state_may_be_turned_on(tmp_path: Path) -> None:
    goal = new_step(ALONE, {"optimizer": "muon"})
    train(goal, range(1))
    state = goal.optimizers.state_dict()
    weights = goal.model.state_dict()
    alone = new_step(ALONE, {"optimizer": "muon", "row_average": 0.9})
    alone.model.load_state_dict(weights)
    alone.optimizers.load_state_dict(state)
    expected = train(alone, range(1, 3))
    for answer in on_ranks(2, gone_on_with_row_averages, tmp_path):
        np.testing.assert_allclose(answer, expected, rtol=2e-5)


def save_then_go_on(ranks: Ranks, folder: Path) -> Trained:
    """Save after each of three steps while the next are made; return a fourth step's outcome."""
    step = new_step(ranks, EVERY)
    saving = ShardedSaving(folder, step, IDENTITY)
    for number in range(3):
        train(step, range(number, number + 1))
        saving.begin(Position(step=number + 1, seconds=0.1))
    rows = train(step, range(3, 5))
    saving.wait()
    return Trained(rows, logits_of(step), held_by(step))


def resume(ranks: Ranks, folder: Path, expected: int) -> Trained:
    step = new_step(ranks, EVERY)
    position = ShardedState.read_newest(folder, ranks).restore(step)
    assert position == Position(step=expected, seconds=0.1)
    rows = train(step, range(expected, 5))
    return Trained(rows[-2:], logits_of(step), held_by(step))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trained]:
    """A folder with the states that two ranks saved, and what their training came to."""
    folder = tmp_path_factory.mktemp("last")
    goal, _ = on_ranks(2, save_then_go_on, folder)
    return folder, goal


@pytest.fixture
def states(saved: tuple[Path, Trained], tmp_path: Path) -> Path:
    return shutil.copytree(saved[0], tmp_path / "last")


def test_a_state_written_during_the_training_is_resumed_on_any_number_of_ranks(
    states: Path, saved: tuple[Path, Trained]
) -> None:
    assert len(complete_states(states)) == 2
    assert_alike(resume(ALONE, states, 3), saved[1])
    for answer in on_ranks(4, resume, states, 3):
        assert_alike(answer, saved[1])


def test_a_changed_file_makes_all_ranks_take_the_state_before(
    states: Path, saved: tuple[Path, Trained]
) -> None:
    file = complete_states(states)[0] / "__1_0.distcp"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    for answer in on_ranks(2, resume, states, 2):
        assert_alike(answer, saved[1])


def test_a_lost_file_makes_one_process_take_the_state_before(
    states: Path, saved: tuple[Path, Trained]
) -> None:
    (complete_states(states)[0] / "__1_0.distcp").unlink()
    state = ShardedState.read_newest(states)
    assert "__1_0.distcp" in state.damage
    clear_up(states, state)
    assert complete_states(states) == [state.path]
    assert_alike(resume(ALONE, states, 2), saved[1])


def test_a_state_that_was_not_completed_does_not_count(states: Path) -> None:
    newest, before = complete_states(states)
    (newest / "complete.json").unlink()
    assert complete_states(states) == [before]
    assert ShardedState.read_newest(states).path == before


def test_states_that_are_all_damaged_are_an_error(states: Path) -> None:
    for one in complete_states(states):
        (one / "facts.pt").write_bytes(b"")
    with pytest.raises(MixerError, match=r"damaged: facts\.pt is not what was written"):
        ShardedState.read_newest(states)


def resume_whole(ranks: Ranks, folder: Path) -> Trained:
    """Take up the state that one process saved after three steps."""
    step = new_step(ranks, EVERY)
    newest_state(folder, ranks).restore(step)
    rows = train(step, range(3, 5))
    return Trained(rows, logits_of(step), held_by(step))


def test_ranks_that_share_a_model_take_up_the_state_of_one_process(
    tmp_path: Path, saved: tuple[Path, Trained]
) -> None:
    alone = new_step(ALONE, EVERY)
    train(alone, range(3))
    save_state(tmp_path, Position(step=3), alone, IDENTITY)
    for answer in on_ranks(2, resume_whole, tmp_path):
        assert_alike(answer, saved[1])


def test_the_state_that_was_saved_last_counts_whether_sharded_or_not(
    states: Path,
) -> None:
    assert isinstance(newest_state(states), ShardedState)
    save_state(states, Position(step=4), new_step(ALONE, EVERY), IDENTITY)
    os.utime(states / "state.pt", (2e9, 2e9))
    assert not isinstance(newest_state(states), ShardedState)


def save_without_room(ranks: Ranks, folder: Path) -> tuple[str, int]:
    import resource

    step = new_step(ranks, EVERY)
    saving = ShardedSaving(folder, step, IDENTITY)
    saving.begin(Position(step=1))
    saving.wait()
    if ranks.rank == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, resource.RLIM_INFINITY))
    saving.begin(Position(step=2))
    try:
        saving.wait()
    except MixerError as error:
        return str(error), len(complete_states(folder))
    return "", len(complete_states(folder))


def test_a_disk_that_is_full_for_one_rank_is_told_by_the_first_and_leaves_the_last_state(
    tmp_path: Path,
) -> None:
    (first, kept), (second, _) = on_ranks(2, save_without_room, tmp_path)
    assert "cannot write" in first
    assert "File too large" in first
    assert "another process" in second
    assert kept == 1


def whole_run(ranks: Ranks, out: Path, resume: bool = False) -> dict[str, Any]:
    changes = {**SHAPE, "depth": 1, "patch_size": 2, "steps": 4, "evaluations": 2, "ema": 0.5}
    recipe = find_recipe("quick").override({**changes, "workers": 1, "shard": "always"})
    console = Console("json", out=io.StringIO(), err=io.StringIO())
    runtime = Runtime(torch.device("cpu"), ranks=ranks)
    return dict(run_recipe(recipe, out, console, runtime, resume=resume))


def losses(out: Path) -> list[float]:
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [one["loss"] for one in records if "loss" in one]


def test_a_whole_sharded_training_leaves_the_files_of_one_process(tmp_path: Path) -> None:
    shared, alone = tmp_path / "shared", tmp_path / "alone"
    outcome, _ = on_ranks(2, whole_run, shared)
    expected = whole_run(ALONE, alone)
    np.testing.assert_allclose(losses(shared), losses(alone), rtol=1e-4)
    assert outcome["accuracy"] == pytest.approx(expected["accuracy"], abs=0.02)
    assert mlpmixer.load(shared).facts["step"] == mlpmixer.load(alone).facts["step"]
    assert complete_states(shared / "last")
    assert whole_run(ALONE, shared, resume=True)["steps"] == 4


def test_a_sharded_model_is_not_compiled() -> None:
    recipe = Recipe().override({"shard": "always", "compile": True})
    runtime = Runtime(torch.device("cpu"), ranks=Ranks(0, 2))
    with pytest.raises(UsageError, match="--shard never"):
        shards(torch.nn.Linear(2, 2), recipe, runtime)


def test_one_process_has_nothing_to_share() -> None:
    recipe = Recipe().override({"shard": "always", "compile": True})
    assert not shards(torch.nn.Linear(2, 2), recipe, Runtime(torch.device("cpu")))
