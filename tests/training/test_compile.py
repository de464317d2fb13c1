"""`--compile`: the same training, compiled; and what is said where there is no compiler."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

import mlpmixer
from mlpmixer.cli.main import main
from mlpmixer.runtime import Runtime
from mlpmixer.training.recipe import Recipe
from mlpmixer.training.step import TrainingStep

COMPILER = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
TRAIN = ["train", "--data", "digits", "--steps", "3", "--device", "cpu", "--compile"]


@pytest.fixture(autouse=True)
def fresh_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile anew: nothing is found that other tests or trainings left."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    torch.compiler.reset()


@pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"no C++ compiler: {COMPILER}")
def test_compiled_steps_end_where_interpreted_ones_do(tmp_path: Path) -> None:
    def trained(compile: bool) -> dict[str, Tensor]:
        torch.manual_seed(0)
        shape = {"width": 16, "depth": 1, "tokens_mlp_dim": 8, "channels_mlp_dim": 32}
        model = mlpmixer.create_model("mixer_nano", image_size=8, patch_size=4, **shape)
        options = {"optimizer": "sgd", "learning_rate": 0.1, "accumulate": 2, "compile": compile}
        step = TrainingStep(model, Recipe().override(options), Runtime(torch.device("cpu")))
        random = torch.Generator().manual_seed(1)
        for number in range(3):
            images = torch.rand(8, 3, 8, 8, generator=random)
            step(images, torch.eye(10)[:8], number, 1.0)
        return step.evaluated.state_dict()

    plain, compiled = trained(False), trained(True)
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value)
    assert list((tmp_path / "compiled").rglob("*.so"))  # it was really compiled


def test_a_missing_compiler_is_named_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    out = tmp_path / "run"
    assert main([*TRAIN, "--out", str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "'no-such-compiler' is not here" in line
    assert "leave --compile out" in line
    assert not out.exists()


def test_a_compiler_that_fails_is_a_line_and_not_a_traceback(tmp_path: Path) -> None:
    environment = {**os.environ, "CXX": shutil.which("false") or "false"}
    command = [*TRAIN, "--out", str(tmp_path / "run"), "--depth", "1"]
    output = subprocess.run(
        [sys.executable, "-m", "mlpmixer", *command],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert output.returncode == 1
    (line,) = (line for line in output.stderr.splitlines() if line.startswith("mixer: "))
    assert line.startswith("mixer: torch.compile failed: ")
    assert line.endswith(". Leave --compile out.")
    assert "Traceback" not in output.stderr
