"""What a training says about how well it uses its machine."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mlpmixer.cli.main import main
from mlpmixer.data.batches import Batch
from mlpmixer.data.in_memory import InMemoryImages
from mlpmixer.kernels.library import library
from mlpmixer.models.model_summary import count_macs
from mlpmixer.models.registry import create_model
from mlpmixer.runtime import Runtime
from mlpmixer.training import utilisation
from mlpmixer.training.utilisation import Utilisation

CPU = Runtime(torch.device("cpu"))
COMMAND = ["train", "--recipe", "quick", "--data", "digits", "--device", "cpu", "--steps", "6"]
SMALL = ["--batch-size", "16", "--width", "16", "--depth", "1", "--evaluations", "1"]
native = pytest.mark.skipif(library().functions is None, reason="no native kernels here")


@native
def test_a_long_run_tells_memory_waiting_and_its_share_of_the_peak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(utilisation, "LONG_RUN", 0.0)
    run, slowed = tmp_path / "run", InMemoryImages.training_batches

    def slowly(self: InMemoryImages, *which: Any) -> Iterator[Batch]:
        for batch in slowed(self, *which):
            time.sleep(0.05)
            yield batch

    monkeypatch.setattr(InMemoryImages, "training_batches", slowly)
    assert main([*COMMAND, *SMALL, "--out", str(run)]) == 0
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    told = [line for line in lines if "loss" in line]
    assert all(0.05 < line["data_wait"] <= 1 for line in told)
    assert all(line["memory_bytes"] > 1e7 for line in told)
    assert "mfu" not in told[0]  # measured after the first line
    assert all(0 < line["mfu"] < 1 for line in told[1:])
    said = capsys.readouterr().out
    assert "waiting for data" in said
    assert "% of peak" in said
    events = EventAccumulator(str(run)).Reload()
    assert {"data_wait", "memory_bytes", "mfu", "gradient_norm"} <= set(events.Tags()["scalars"])


@native
def test_the_share_of_the_peak_is_what_the_model_needs_over_what_the_device_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(utilisation, "LONG_RUN", 0.0)
    monkeypatch.setattr(utilisation, "peak_operations", lambda runtime: 1e12)
    model = create_model("mixer_nano", image_size=32, num_classes=10)
    told = Utilisation(model, CPU)
    told.measure()
    assert told.facts(100.0)["mfu"] == pytest.approx(100 * 6 * count_macs(model) / 1e12)


def test_a_short_run_is_not_held_up_by_a_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(utilisation, "peak_operations", lambda runtime: pytest.fail("measured"))
    told = Utilisation(create_model("mixer_nano", image_size=32), CPU)
    told.measure()
    assert set(told.facts(100.0)) == {"memory_bytes"}


def test_a_model_of_which_parts_are_frozen_has_no_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(utilisation, "LONG_RUN", 0.0)
    model = create_model("mixer_nano", image_size=32)
    model.stem.requires_grad_(False)
    told = Utilisation(model, CPU)
    told.measure()
    assert set(told.facts(100.0)) == {"memory_bytes"}
