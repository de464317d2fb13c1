"""What goes wrong in long runs, really done: kills, full disks, damage, bad losses, two at once."""

import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_recipe import tiny_recipe
from torch import Tensor

from mlpmixer.cli.main import main
from mlpmixer.errors import Terminated
from mlpmixer.run.console import Console
from mlpmixer.run.directory import PREVIOUS_STATE_FILE, STATE_FILE, RunDirectory
from mlpmixer.runtime import Runtime
from mlpmixer.training import loop
from mlpmixer.training.finished_run import train_once
from mlpmixer.training.recipe import Recipe
from mlpmixer.training.sharpness import SharpnessAware
from mlpmixer.training.state import DAMAGED_STATE_FILE
from mlpmixer.training.step import StepResult, TrainingStep

Poison = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    recipe = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    recipe.write_text(tiny_recipe(steps=24, evaluations=4))

    def train(out: Path, *options: str) -> list[str]:
        return ["train", "--recipe", str(recipe), "--out", str(out), *options]

    return train


def weights(run: Path) -> dict[str, Tensor]:
    return load_file(run / "model.safetensors")


def same(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(map(torch.equal, first.values(), second.values()))


def signal_at(monkeypatch: pytest.MonkeyPatch, number: int, kind: signal.Signals) -> None:
    """Send a signal to this process in the step of that number, once."""
    make, sent = TrainingStep.__call__, []

    def step(
        self: TrainingStep, images: Tensor, targets: Tensor, at: int, *rest: Any
    ) -> StepResult:
        if at == number and not sent:
            sent.append(at)
            os.kill(os.getpid(), kind)
        return make(self, images, targets, at, *rest)

    monkeypatch.setattr(TrainingStep, "__call__", step)


def poisoned(monkeypatch: pytest.MonkeyPatch, poison: Poison) -> list[int]:
    """Change what some steps see; returns the numbers of the steps that are taken."""
    make, taken = TrainingStep.__call__, []

    def step(
        self: TrainingStep, images: Tensor, targets: Tensor, number: int, *rest: Any
    ) -> StepResult:
        taken.append(number)
        return make(self, *poison(number, images, targets), number, *rest)

    monkeypatch.setattr(TrainingStep, "__call__", step)
    return taken


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


@pytest.fixture
def interrupted(
    tmp_path: Path, command: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A run that was stopped in its 14th step, with states of steps 13 and 14."""
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(loop, "SAVE_EVERY", 0.0)
        signal_at(patch, 13, signal.SIGINT)
        assert main(command(run)) == 130
    return run


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, command: Callable[..., list[str]]
) -> Path:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    assert main(command(run)) == 0
    return run


def test_termination_saves_and_asks_to_be_started_again(
    tmp_path: Path,
    command: Callable[..., list[str]],
    undisturbed: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    signal_at(monkeypatch, 9, signal.SIGTERM)
    assert main(command(run)) == 75
    assert f"mixer train --resume {run}" in capsys.readouterr().out
    assert main(["train", "--resume", str(run)]) == 0
    assert same(run, undisturbed)


def test_workers_that_are_told_to_stop_as_well_serve_on(
    tmp_path: Path, command: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Schedulers signal all processes of a command; what the state lacks is still to be read."""
    make, told = TrainingStep.__call__, []

    def step(
        self: TrainingStep, images: Tensor, targets: Tensor, at: int, *rest: Any
    ) -> StepResult:
        if at == 3:
            for worker in multiprocessing.active_children():
                assert worker.pid is not None
                os.kill(worker.pid, signal.SIGTERM)
                told.append(worker)
        return make(self, images, targets, at, *rest)

    monkeypatch.setattr(TrainingStep, "__call__", step)
    assert main(command(tmp_path / "run", "--cache", "none", "--workers", "1")) == 0
    assert told


@pytest.mark.parametrize("how", ["a wrong byte", "cut short", "gone"])
def test_the_state_before_serves_where_the_newest_is_damaged(
    how: str, interrupted: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = interrupted / "last" / STATE_FILE
    if how == "a wrong byte":
        damage(state)
    elif how == "cut short":
        state.write_bytes(state.read_bytes()[:-1000])
    else:
        state.unlink()
    capsys.readouterr()
    assert main(["train", "--resume", str(interrupted)]) == 0
    said = capsys.readouterr().err
    assert ("going on from the state before" in said) == (how != "gone")
    assert (interrupted / "last" / DAMAGED_STATE_FILE).exists() == (how != "gone")
    assert same(interrupted, undisturbed)


def test_a_damaged_state_never_takes_the_place_of_the_good_one(
    interrupted: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(interrupted / "last" / STATE_FILE)
    with monkeypatch.context() as patch:
        signal_at(patch, 14, signal.SIGINT)
        assert main(["train", "--resume", str(interrupted)]) == 130
    assert (interrupted / "last" / PREVIOUS_STATE_FILE).exists()
    damage(interrupted / "last" / STATE_FILE)
    assert main(["train", "--resume", str(interrupted)]) == 0
    assert same(interrupted, undisturbed)


def test_what_a_killed_save_left_half_written_is_removed(interrupted: Path) -> None:
    leftovers = [interrupted / "last" / f".{name}.0123abcd.pt" for name in ("state", "previous")]
    for leftover in leftovers:
        leftover.write_bytes(b"half")
    assert main(["train", "--resume", str(interrupted)]) == 0
    assert not any(leftover.exists() for leftover in leftovers)


def test_a_terminated_part_of_a_study_asks_for_the_study_to_be_started_again(
    tmp_path: Path, command: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Recipe.from_toml(Path(command(tmp_path)[2]))
    signal_at(monkeypatch, 3, signal.SIGTERM)
    console, runtime = Console("plain"), Runtime(torch.device("cpu"))
    with pytest.raises(Terminated):
        train_once(written, tmp_path / "run", console, runtime)
    assert train_once(written, tmp_path / "run", console, runtime)["finished"]


def test_two_damaged_states_are_named(
    interrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (STATE_FILE, PREVIOUS_STATE_FILE):
        damage(interrupted / "last" / name)
    capsys.readouterr()
    assert main(["train", "--resume", str(interrupted)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{interrupted / 'last' / STATE_FILE} is damaged" in line


def test_a_run_in_use_is_refused_until_its_process_is_gone(
    interrupted: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = (
        "import sys, time; from mlpmixer.run.directory import RunDirectory\n"
        "with RunDirectory.open(sys.argv[1]): print('in', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(interrupted)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "in\n"
    capsys.readouterr()
    assert main(["train", "--resume", str(interrupted)]) == 2
    assert f"{interrupted} is in use by another training" in capsys.readouterr().err
    holder.kill()
    holder.communicate()
    assert main(["train", "--resume", str(interrupted)]) == 0
    assert same(interrupted, undisturbed)


def test_a_disk_that_fills_up_costs_what_was_done_since_the_last_state(
    interrupted: Path,
    undisturbed: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    size = (interrupted / "last" / STATE_FILE).stat().st_size
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    was = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, before[1]))
    try:
        capsys.readouterr()
        assert main(["train", "--resume", str(interrupted)]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, was)
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"cannot write {interrupted / 'last' / STATE_FILE}: File too large." in line
    assert f"mixer train --resume {interrupted}" in line
    assert not list((interrupted / "last").glob(".*"))
    assert main(["train", "--resume", str(interrupted)]) == 0
    assert same(interrupted, undisturbed)


def test_a_batch_that_ruins_the_loss_is_named_and_passed_over(
    tmp_path: Path,
    command: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)

    def poison(number: int, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if number == 7:
            return images * torch.nan, targets
        return (images, targets * 1e4) if number == 15 else (images, targets)

    taken = poisoned(monkeypatch, poison)
    run = tmp_path / "run"
    assert main(command(run)) == 0
    said = capsys.readouterr().err
    assert "the loss became nan in step 7: back to step 7, and on without that batch" in said
    assert "in step 15: back to step 15" in said
    assert [taken.count(number) for number in (6, 7, 8, 15, 16, 23)] == [1, 1, 1, 1, 1, 1]
    noted = json.loads((run / "skipped_batches.json").read_text())
    assert [entry["step"] for entry in noted] == [7, 15]
    assert len(noted[0]["images"]) == 32
    assert noted[0]["images"][0].startswith("digits train image ")
    assert all(tensor.isfinite().all() for tensor in weights(run).values())
    losses = [one["loss"] for one in RunDirectory.open(run).records() if "loss" in one]
    assert max(losses) < 4


def test_what_was_passed_over_stays_so_after_a_resume(
    tmp_path: Path, command: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def poison(number: int, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return (images * torch.nan if number == 7 else images), targets

    poisoned(monkeypatch, poison)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main(command(whole)) == 0
    with monkeypatch.context() as patch:
        signal_at(patch, 12, signal.SIGINT)
        assert main(command(parts)) == 130
    taken = poisoned(monkeypatch, poison)
    assert main(["train", "--resume", str(parts)]) == 0
    assert taken[0] == 13
    assert same(whole, parts)


def test_a_loss_that_stays_bad_ends_the_training_with_advice(
    tmp_path: Path,
    command: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    poisoned(
        monkeypatch,
        lambda number, images, targets: (images * torch.nan if number > 4 else images, targets),
    )
    run = tmp_path / "run"
    assert main(command(run)) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "the loss became nan in step 8, the 4th time since the last state" in line
    assert "--learning-rate" in line


def test_a_gradient_from_above_the_weights_that_is_no_number_is_passed_over(
    tmp_path: Path,
    command: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of sharpness-aware steps the loss is that at the weights, which says nothing of it."""
    make, factors = SharpnessAware.__call__, iter([1.0] * 7 + [torch.nan])

    def ruinous(self: SharpnessAware, number: int, backward: Callable[[], object]) -> object:
        result = make(self, number, backward)
        torch._foreach_mul_([one.grad for one in self.parameters], next(factors, 1.0))
        return result

    monkeypatch.setattr(SharpnessAware, "__call__", ruinous)
    assert main(command(tmp_path / "run", "--sam-rho", "0.05")) == 0
    said = capsys.readouterr().err
    assert said.count("the loss became nan") == said.count("nan in step 7: back to step") == 1


def test_a_last_step_that_ruins_the_weights_is_passed_over_too(
    tmp_path: Path,
    command: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make = TrainingStep.__call__

    def step(
        self: TrainingStep, images: Tensor, targets: Tensor, number: int, *rest: Any
    ) -> StepResult:
        result = make(self, images, targets, number, *rest)
        if number == 23:  # its loss was a number: only the validation sees what it did
            with torch.no_grad():
                next(self.model.parameters()).mul_(torch.inf)
        return result

    monkeypatch.setattr(TrainingStep, "__call__", step)
    run = tmp_path / "run"
    assert main(command(run)) == 0
    assert "the loss became nan in step 23: back to step" in capsys.readouterr().err
    assert all(tensor.isfinite().all() for tensor in weights(run).values())


def test_a_clock_that_jumps_changes_no_budget(
    tmp_path: Path, command: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    jumps = iter(range(10**6))
    monkeypatch.setattr(time, "time", lambda: 1e9 * (-1) ** next(jumps))
    run = tmp_path / "run"
    assert main([*command(run), "--minutes", "0.02"]) == 0
    assert 0 < RunDirectory.open(run).records()[-1]["seconds"] < 1e8


def test_fifty_kills_at_any_moment_leave_a_run_that_ends_in_the_same_bits(
    tmp_path: Path, command: Callable[..., list[str]]
) -> None:
    run, whole = tmp_path / "run", tmp_path / "whole"
    script = str(Path(__file__).parents[1] / "killed_trainings.py")
    options = [*command(run)[:-2], "--steps", "400"]
    done = subprocess.run(
        [sys.executable, script, str(whole), str(run), "50", *options],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert same(run, whole)
