"""A training that is told to stop, or whose terminal or reader is gone, saves what it reached."""

import json
import os
import shlex
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from tiny_recipe import tiny_recipe
from torch import Tensor

from mlpmixer.cli.main import main
from mlpmixer.errors import MixerError
from mlpmixer.training.interruption import Interruption
from mlpmixer.training.step import StepResult, TrainingStep


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(tiny_recipe(steps=6, evaluations=1))
    return ["train", "--recipe", str(recipe), "--out", str(tmp_path / "the run")]


def in_step(monkeypatch: pytest.MonkeyPatch, number: int, happens: Callable[[], object]) -> None:
    """Let something happen in the step of that number."""
    make = TrainingStep.__call__

    def step(
        self: TrainingStep, images: Tensor, targets: Tensor, at: int, *rest: Any
    ) -> StepResult:
        if at == number:
            happens()
        return make(self, images, targets, at, *rest)

    monkeypatch.setattr(TrainingStep, "__call__", step)


def send(*kinds: signal.Signals) -> Callable[[], None]:
    def happens() -> None:
        for kind in kinds:
            os.kill(os.getpid(), kind)

    return happens


@contextmanager
def output_to_a_reader() -> Iterator[Callable[[], None]]:
    """Let standard output be a pipe; yield what lets its reader leave."""
    ours, theirs = os.pipe()
    with redirect_stdout(os.fdopen(theirs, "w")) as out:
        yield lambda: os.close(ours)
        out.close()


@contextmanager
def hangups(handler: signal.Handlers) -> Iterator[None]:
    """Handle SIGHUP so, whatever these tests were started with, such as nohup."""
    before = signal.signal(signal.SIGHUP, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_terminal_that_goes_is_a_wish_to_stop_however_often_it_is_told(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    in_step(monkeypatch, 2, send(signal.SIGHUP, signal.SIGHUP))
    with hangups(signal.SIG_DFL):
        assert main(command) == 75
    said = capsys.readouterr().out.splitlines()[-1]
    again = shlex.split(said.partition("continue with: mixer ")[2])
    assert again == ["train", "--resume", command[-1]]
    assert main(again) == 0


def test_a_training_that_is_to_outlive_its_terminal_hears_nothing_of_its_end() -> None:
    with hangups(signal.SIG_IGN), Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGHUP)
    assert interruption.signal is None


def test_a_reader_that_leaves_ends_no_training(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with output_to_a_reader() as leave:
        in_step(monkeypatch, 2, leave)
        assert main(command) == 1
    assert (Path(command[-1]) / "evaluation.json").exists()


def test_ctrl_c_that_ends_the_reader_too_says_how_to_go_on(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with output_to_a_reader() as leave:
        in_step(monkeypatch, 2, lambda: (leave(), send(signal.SIGINT)()))
        assert main(command) == 130
    assert "stopped and saved; continue with: " in capsys.readouterr().err


def test_a_start_that_failed_can_be_repeated_in_its_folder(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise MixerError("most images are unreadable.")

    with monkeypatch.context() as patch:
        patch.setattr("mlpmixer.training.train.read_images", fail)
        assert main(command) == 1
    assert main(["train", "--resume", command[-1]]) == 2
    assert "Start it anew, by its first command, or in another folder." in capsys.readouterr().err
    assert main(command) == 0


def test_a_folder_to_resume_that_is_none_of_a_run_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.toml").touch()
    assert main(["train", "--resume", str(tmp_path)]) == 2
    said = f"recipe.toml is missing. Did you mean {tmp_path / 'run'}?"
    assert said in capsys.readouterr().err


def test_a_program_is_told_that_a_training_was_stopped(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    in_step(monkeypatch, 2, send(signal.SIGTERM))
    assert main([*command, "--json"]) == 75
    told = json.loads(capsys.readouterr().out)
    assert told == {"finished": False, "run": command[-1], "step": 3, "stopped_by": "SIGTERM"}
