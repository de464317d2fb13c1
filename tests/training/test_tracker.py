"""A tracker is told what the run's own files hold, and never stops a run."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training_steps import TrainingSteps

from mlpmixer.cli.main import main
from mlpmixer.measures.metrics import METRICS

TINY = [
    *("--recipe", "quick", "--data", "digits", "--steps", "8", "--evaluations", "2"),
    *("--batch-size", "64", "--depth", "1", "--width", "16", "--patch-size", "2"),
    *("--workers", "0", "--device", "cpu"),
]
pytestmark = pytest.mark.page
WANDB = """
import json
from pathlib import Path

class _Run:
    def __init__(self, file, id):
        self.file, self.id, self.config = file, id, self
    def _tell(self, *what):
        with self.file.open("a") as out:
            out.write(json.dumps(what) + "\\n")
    def update(self, parameters):
        self._tell("config", parameters)
    def log(self, values, step):
        self._tell("log", values, step)
    def save(self, path, base_path, policy):
        self._tell("save", path)
    def finish(self, exit_code):
        self._tell("finish", exit_code)

def init(id, resume, name, dir):
    run = _Run(Path(dir) / "told.jsonl", id or "abc")
    run._tell("init", id, resume, name)
    return run
"""


@pytest.fixture
def mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """MLflow, with its records in a file of this test's."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # so that no server has to be started
    return pytest.importorskip("mlflow")


def only_run(mlflow: Any) -> Any:
    (run,) = mlflow.MlflowClient().search_runs(["0"])
    return run


def history(mlflow: Any, name: str) -> list[tuple[int, float]]:
    told = mlflow.MlflowClient().get_metric_history(only_run(mlflow).info.run_id, name)
    return [(one.step, one.value) for one in told]


def logged(run: Path, name: str) -> list[tuple[int, float]]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(one["step"], one[name]) for one in records if name in one]


def test_mlflow_gets_the_recipe_the_metrics_and_the_report(mlflow: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main(["train", *TINY, "--tracker", "mlflow", "--out", str(out)]) == 0
    found = only_run(mlflow)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "run")
    assert found.data.params["batch_size"] == "64"
    assert found.data.params["tracker"] == "mlflow"
    for name in ("loss", "validation_accuracy"):
        assert history(mlflow, name) == logged(out, name) != []
    evaluation = json.loads((out / "evaluation.json").read_text())
    assert history(mlflow, "final_accuracy") == [(8, evaluation["top1"])]
    for name in METRICS.keys() & evaluation.keys():
        assert history(mlflow, f"final_{name}") == [(8, evaluation[name])]
    assert METRICS.keys() & evaluation.keys() >= {"top1", "top5", "expected_calibration_error"}
    kept = mlflow.MlflowClient().list_artifacts(found.info.run_id)
    assert [one.path for one in kept] == ["report.html"]


def test_a_resumed_run_goes_on_as_the_same_one(
    mlflow: Any, tmp_path: Path, training_steps: TrainingSteps
) -> None:
    out = tmp_path / "run"
    training_steps.interrupt_at = 5
    assert main(["train", *TINY, "--tracker", "mlflow", "--out", str(out)]) == 130
    assert only_run(mlflow).info.status == "KILLED"
    training_steps.interrupt_at = None
    assert main(["train", "--resume", str(out)]) == 0
    assert only_run(mlflow).info.status == "FINISHED"
    assert [step for step, _ in history(mlflow, "loss")] == list(range(1, 9))


def test_a_tracker_that_fails_is_told_and_the_run_goes_on(
    mlflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise mlflow.exceptions.MlflowException("nobody answers.\nand more")

    monkeypatch.setattr(mlflow, "log_metrics", fail)
    out = tmp_path / "run"
    assert main(["train", *TINY, "--tracker", "mlflow", "--out", str(out)]) == 0
    told = capsys.readouterr().err
    assert told.count("mlflow failed (nobody answers): the run goes on without it") == 1
    assert len(logged(out, "loss")) == 8


def test_a_tracker_that_takes_no_run_is_named_before_the_training(
    mlflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "no-such-experiment")
    out = tmp_path / "run"
    assert main(["train", *TINY, "--tracker", "mlflow", "--out", str(out)]) == 1
    assert "mlflow takes no run" in capsys.readouterr().err
    assert not (out / "metrics.jsonl").exists()


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_missing_package_is_named_with_its_installation_before_the_long_work(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find: Callable[..., Any] = importlib.util.find_spec

    def without(wanted: str, *more: Any) -> Any:
        return None if wanted == name else find(wanted, *more)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    out = tmp_path / "run"
    assert main(["train", *TINY, "--tracker", name, "--out", str(out)]) == 2
    assert f"pip install 'mlpmixer[{name}]'" in capsys.readouterr().err
    assert not out.exists()


def test_wandb_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, training_steps: TrainingSteps
) -> None:
    (tmp_path / "wandb.py").write_text(WANDB)
    monkeypatch.syspath_prepend(tmp_path)
    out = tmp_path / "run"
    training_steps.interrupt_at = 5
    assert main(["train", *TINY, "--tracker", "wandb", "--out", str(out)]) == 130
    training_steps.interrupt_at = None
    assert main(["train", "--resume", str(out)]) == 0
    told = [json.loads(line) for line in (out / "told.jsonl").read_text().splitlines()]
    assert [one for one in told if one[0] == "init"] == [
        ["init", None, None, "run"],
        ["init", "abc", "allow", "run"],
    ]
    assert [one[1] for one in told if one[0] == "finish"] == [1, 0]
    (config,) = (one[1] for one in told if one[0] == "config")
    assert config["batch_size"] == "64"
    losses = [(one[2], one[1]["loss"]) for one in told if one[0] == "log" and "loss" in one[1]]
    assert losses == logged(out, "loss")
    assert ["save", str(out / "report.html")] in told
