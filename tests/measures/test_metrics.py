"""The registry of metrics: one entry is all that a new one takes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, top_k_accuracy_score

import mlpmixer
from mlpmixer.cli.main import main
from mlpmixer.measures.metrics import METRICS, Metric, ScoredBatch, in_words, shown

pytestmark = pytest.mark.page


def log_loss_sums(batch: ScoredBatch) -> torch.Tensor:
    chosen = batch.probabilities.gather(1, batch.labels[:, None]).log().double()
    return torch.stack([-chosen.sum(), torch.tensor(float(len(chosen)), dtype=torch.float64)])


def test_a_new_metric_shows_in_the_console_the_json_the_page_and_the_card(
    photo_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    new = Metric(
        title="logarithmic loss",
        sentence="The cost of the true class in nats.",
        sums=log_loss_sums,
        value=lambda sums: float(sums[0] / sums[1]),
        show=lambda value: f"{value:.4f} nats",
        higher_is_better=False,
    )
    monkeypatch.setitem(METRICS, "log_loss", new)
    run = tmp_path / "run"
    options = ["--steps", "4", "--batch-size", "8", "--warmup-steps", "1", "--workers", "1"]
    place = ["--data", str(photo_folder), "--model", "mixer_nano", "--out", str(run)]
    assert main(["train", *place, *options]) == 0
    value = json.loads((run / "evaluation.json").read_text())["log_loss"]
    assert value > 0
    line = f"{value:.4f} nats"
    page = (run / "report.html").read_text()
    assert all(part in page for part in ("Logarithmic loss", line, new.sentence))
    capsys.readouterr()
    assert main(["eval", str(run)]) == 0
    assert f"logarithmic loss: {line}" in capsys.readouterr().out
    mlpmixer.save_pretrained(run, tmp_path / "folder")
    assert f"| logarithmic loss | {line} |" in (tmp_path / "folder" / "README.md").read_text()


def test_a_metric_counted_in_batches_is_that_of_the_whole() -> None:
    random = np.random.default_rng(0)
    logits = torch.from_numpy(random.normal(size=(200, 9)).astype(np.float32))
    labels = torch.from_numpy(random.integers(0, 9, 200))
    batches = [
        ScoredBatch(part, part.softmax(1), truth)
        for part, truth in zip(logits.split(64), labels.split(64), strict=True)
    ]
    top5 = METRICS["top5"]
    sums = sum(added.double().numpy() for one in batches if (added := top5.sums(one)) is not None)
    assert top5.value(sums) == pytest.approx(
        top_k_accuracy_score(labels, logits, k=5, labels=range(9))
    )
    nats = sum(log_loss_sums(one).numpy() for one in batches)
    assert nats[0] / nats[1] == pytest.approx(log_loss(labels, logits.double().softmax(1)), 1e-5)


def test_of_equal_logits_the_first_class_is_preferred() -> None:
    logits = torch.zeros(3, 7)
    batch = ScoredBatch(logits, logits.softmax(1), torch.tensor([0, 4, 6]))
    assert batch.predicted.tolist() == [0, 0, 0]
    assert batch.rank.tolist() == [0, 4, 6]


def test_what_says_nothing_of_few_classes_is_not_shown() -> None:
    values = {"top1": 0.5, "top5": 1.0}
    assert [name for name, _, _ in shown(values, 5)] == ["top1"]
    assert [name for name, _, _ in shown(values, 6)] == ["top1", "top5"]
    assert in_words(METRICS["top1"], 0.5, 4) == "50.00 % (95 % interval 15.0 % to 85.0 %)"
