"""Whole trainings on several processes: the curves, figures and files of one process."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from rank_processes import free_port, on_ranks

from mlpmixer.ranks import ALONE, Ranks
from mlpmixer.run.console import Console
from mlpmixer.runtime import Runtime
from mlpmixer.training.recipe import Recipe
from mlpmixer.training.recipes import find_recipe
from mlpmixer.training.train import train

TINY = {
    "steps": 8,
    "batch_size": 32,
    "depth": 1,
    "width": 16,
    "tokens_mlp_dim": 8,
    "channels_mlp_dim": 32,
    "patch_size": 2,
    "evaluations": 2,
    "ema": 0.9,
    "optimizer": "muon",
    "stochastic_depth": 0.1,
    "mixup_alpha": 0.2,
    "mixup_probability": 0.5,
    "randaugment_operations": 1,
    "workers": 1,
}


def recipe(**changes: object) -> Recipe:
    return find_recipe("quick").override({**TINY, **changes})


def whole(ranks: Ranks, out: str, changes: dict[str, Any], resume: bool = False) -> dict[str, Any]:
    console = Console("json", out=io.StringIO(), err=io.StringIO())
    runtime = Runtime(torch.device("cpu"), ranks=ranks)
    return dict(train(recipe(**changes), Path(out), console, runtime, resume=resume))


def records(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def curve(out: Path, name: str) -> list[float]:
    return [one[name] for one in records(out) if name in one]


def torchrun(*arguments: str, ranks: int = 2, node: int | None = None, port: int = 0) -> Any:
    """Start ranks as a user does; on one of two machines where `node` says which."""
    where = ["--standalone"]
    if node is not None:
        where = ["--nnodes", "2", "--node-rank", str(node), "--master-addr", "127.0.0.1"]
        where += ["--master-port", str(port)]
    command = [sys.executable, "-m", "torch.distributed.run", *where]
    command += ["--nproc-per-node", str(ranks), "-m", "mlpmixer", *arguments]
    pipe = subprocess.PIPE
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment)


def options(**changes: object) -> list[str]:
    chosen = {"recipe": "quick", "data": "digits", "device": "cpu", **TINY, **changes}
    return [
        part
        for name, value in chosen.items()
        for part in (f"--{name.replace('_', '-')}", str(value))
    ]


@pytest.mark.page
def test_ranks_train_as_one_process(tmp_path: Path) -> None:
    one = whole(ALONE, str(tmp_path / "one"), {})
    for world in (2, 4):
        out = tmp_path / str(world)
        outcomes = on_ranks(world, whole, str(out), {})
        assert outcomes[0]["accuracy"] == pytest.approx(one["accuracy"], abs=0.01)
        assert all(outcome["finished"] for outcome in outcomes)
        for name in ("loss", "gradient_norm", "train_accuracy", "validation_accuracy"):
            # Muon rounds to bfloat16 where the hardware has it.
            close = pytest.approx(curve(tmp_path / "one", name), rel=0.02, abs=0.01)
            assert curve(out, name) == close
        assert curve(out, "step") == curve(tmp_path / "one", "step")
        assert sorted(path.name for path in out.iterdir() if "tfevents" not in path.name) == sorted(
            path.name for path in (tmp_path / "one").iterdir() if "tfevents" not in path.name
        )


def stopped_at(ranks: Ranks, out: str, changes: dict[str, Any], step: int) -> dict[str, Any]:
    """Train until the last rank alone is told to stop."""
    from mlpmixer.training.step import TrainingStep

    make = TrainingStep.__call__

    def stopping(self: Any, images: Any, targets: Any, number: int, *rest: Any) -> Any:
        if number == step and ranks.rank == ranks.world - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return make(self, images, targets, number, *rest)

    TrainingStep.__call__ = stopping  # type: ignore[method-assign]
    return whole(ranks, out, changes)


@pytest.mark.parametrize("then", [1, 4])
def test_one_rank_that_is_stopped_stops_all_and_any_number_goes_on(
    tmp_path: Path, then: int
) -> None:
    out, through = tmp_path / "stopped", tmp_path / "through"
    for outcome in on_ranks(2, stopped_at, str(out), {}, 5):
        assert not outcome["finished"]
        assert (outcome["step"], outcome["stopped_by"]) == (6, "SIGTERM")
    if then == 1:
        whole(ALONE, str(out), {}, True)
    else:
        on_ranks(then, whole, str(out), {}, True)
    whole(ALONE, str(through), {})
    assert curve(out, "step") == curve(through, "step")
    assert curve(out, "loss") == pytest.approx(curve(through, "loss"), rel=0.02, abs=0.01)


def test_a_budget_of_minutes_ends_for_all_at_the_same_step(tmp_path: Path) -> None:
    changes = {"steps": None, "minutes": 0.02, "evaluations": 1}
    outcomes = on_ranks(2, whole, str(tmp_path / "run"), changes)
    assert all(outcome["finished"] for outcome in outcomes)
    assert records(tmp_path / "run")[-1]["seconds"] >= 1.2


def ruined(ranks: Ranks, out: str) -> str:
    from mlpmixer.errors import MixerError

    try:
        whole(
            ranks, out, {"learning_rate": 1000.0, "clip_norm": 0.0, "optimizer": "sgd", "steps": 40}
        )
    except MixerError as error:
        return str(error)
    return ""


def test_a_loss_that_is_no_number_ends_all_ranks_alike(tmp_path: Path) -> None:
    one, other = on_ranks(2, ruined, str(tmp_path / "run"))
    assert "Use a lower --learning-rate" in one
    assert one == other


def test_wrong_use_is_told_once_by_the_leading_rank(tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    process = torchrun("train", *options(batch_size=31, out=out))
    _, said = process.communicate(timeout=240)
    assert process.returncode != 0
    assert said.count("mixer: 2 ranks cannot share batches of 31") == 1
    assert (
        'Traceback (most recent call last):\n  File "<frozen runpy>' not in said.split("mixer: ")[0]
    )
    assert not Path(out).exists()


def test_a_rank_that_dies_ends_the_others_and_a_restart_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = torchrun("train", *options(steps=100_000, out=out))
    try:
        deadline = time.monotonic() + 240
        while not (out / "last" / "state.pt").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        victim = int(
            subprocess.run(
                ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True
            ).stdout.split()[-1]
        )
        os.kill(victim, signal.SIGKILL)
        _, said = process.communicate(timeout=240)
    finally:
        process.kill()
    assert process.returncode != 0
    assert "SIGKILL" in said or "-9" in said
    finished = recipe(steps=4).to_toml()
    (out / "recipe.toml").write_text(finished)
    assert on_ranks(2, resumed, str(out))[0]["finished"]


def resumed(ranks: Ranks, out: str) -> dict[str, Any]:
    return whole(ranks, out, {"steps": 4}, True)


def test_two_machines_train_as_one(tmp_path: Path) -> None:
    out, port = tmp_path / "run", free_port()
    # Only the first machine is to write: the second one is given another folder.
    nodes = [
        torchrun("train", *options(steps=4, out=tmp_path / name), ranks=1, node=node, port=port)
        for node, name in enumerate(("run", "other"))
    ]
    for node in nodes:
        said = node.communicate(timeout=240)
        assert node.returncode == 0, said
    assert "<html" in (out / "report.html").read_text()
    assert not (tmp_path / "other").exists()
