"""Trainings on classes of unequal size."""

import io
import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rank_processes import on_ranks
from safetensors.torch import load_file
from training_steps import TrainingSteps

import mlpmixer
from mlpmixer.cli.main import main
from mlpmixer.data.dataset import Dataset
from mlpmixer.data.label_sets import LabelSets
from mlpmixer.data.mixing import mixup
from mlpmixer.data.splits import ArraySplit
from mlpmixer.data.stream_order import ShuffleWindow
from mlpmixer.errors import UsageError
from mlpmixer.models.interface import ImageModel
from mlpmixer.ranks import ALONE, Ranks
from mlpmixer.run.console import Console
from mlpmixer.runtime import Runtime
from mlpmixer.training.plan import plan
from mlpmixer.training.recipe import Recipe
from mlpmixer.training.recipes import find_recipe
from mlpmixer.training.step import StepResult, TrainingStep
from mlpmixer.training.train import train

CPU = Runtime(torch.device("cpu"))
SHAPE = {"width": 16, "depth": 2, "tokens_mlp_dim": 8, "channels_mlp_dim": 32}
COUNTS = {"many": 24, "some": 12, "few": 3}


@pytest.fixture(scope="module")
def unequal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three classes of 24, 12 and 3 training images, and 4 test images each."""
    root = tmp_path_factory.mktemp("unequal")
    chance = np.random.default_rng(0)
    for name, count in COUNTS.items():
        for split, images in (("train", count), ("val", 4), ("test", 4)):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(images):
                pixels = chance.integers(0, 256, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return root


def recipe(data: Path, **changes: object) -> Recipe:
    options = {"data": str(data), "steps": 12, "batch_size": 6, "patch_size": 2, "workers": 0}
    tiny = {**SHAPE, **options, "evaluations": 2, "ema": 0.0, "mixup_alpha": 0.0}
    return find_recipe("quick").override({**tiny, **changes})


def silent() -> Console:
    return Console("json", out=io.StringIO(), err=io.StringIO())


def tiny_mixer() -> ImageModel:
    torch.manual_seed(0)
    model = mlpmixer.create_model("mixer_nano", image_size=8, patch_size=2, num_classes=3, **SHAPE)
    torch.nn.init.normal_(model.head.weight, std=0.3)
    return model


def moved(
    counts: list[int],
    weights: torch.Tensor | None,
    mix: bool = False,
    taught: bool = False,
    **options: Any,
) -> tuple[torch.Tensor, StepResult]:
    """Return the weights after a step on so many copies of one image of each class."""
    options = {"optimizer": "sgd", "learning_rate": 0.1, "clip_norm": 0.0, **options}
    step = TrainingStep(tiny_mixer(), Recipe().override(options), CPU, weights)
    random = torch.Generator().manual_seed(1)
    images = (torch.rand(3, 3, 8, 8, generator=random) * 2 - 1).repeat_interleave(
        torch.tensor(counts), dim=0
    )
    targets = torch.eye(3).repeat_interleave(torch.tensor(counts), dim=0)
    if mix:
        images, targets = mixup(images, targets, 0.5, random)
    answers = torch.tensor([[3.0, 0, 0], [1, 2, 0], [0, 0, 1]])
    answers = answers.repeat_interleave(torch.tensor(counts), dim=0)
    result = step(images, targets, 0, 1.0, answers if taught else None)
    return torch.cat([one.detach().flatten() for one in step.model.parameters()]), result


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"loss": "sigmoid"},
        {"label_smoothing": 0.2},
        {"loss": "sigmoid", "label_smoothing": 0.2},
        {"sam_rho": 0.05},
        {"taught": True, "teacher_weight": 0.5},
        {"taught": True, "loss": "sigmoid"},
    ],
    ids=str,
)
def test_weighted_images_move_the_model_as_equal_classes_would(options: dict[str, Any]) -> None:
    weights = torch.tensor([12 / (3 * count) for count in (6, 4, 2)], dtype=torch.float64)
    found, _ = moved([6, 4, 2], weights, **options)
    expected, _ = moved([4, 4, 4], None, **options)
    start = torch.cat([one.detach().flatten() for one in tiny_mixer().parameters()])
    plain, _ = moved([6, 4, 2], None, **options)
    assert (found - expected).norm() < 1e-4 * (expected - start).norm()
    assert (plain - expected).norm() > 0.02 * (expected - start).norm()


def test_weighted_parts_of_a_batch_add_up_to_the_whole() -> None:
    weights = torch.tensor([0.5, 1.0, 2.0])
    for mix in (False, True):
        (whole, one), (parts, other) = (
            moved([6, 4, 2], weights, mix, accumulate=count) for count in (1, 3)
        )
        torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(one.loss, other.loss)


def test_a_mixture_counts_what_its_images_do_in_their_shares() -> None:
    weights, even = torch.tensor([0.5, 1.0, 2.0]), torch.ones(3)
    found, _ = moved([4, 4, 4], weights, mix=True)
    plain, _ = moved([4, 4, 4], even, mix=True)
    unweighted, _ = moved([4, 4, 4], None, mix=True)
    torch.testing.assert_close(plain, unweighted, rtol=1e-5, atol=1e-6)
    assert (found - plain).norm() > 1e-3


def test_the_loss_that_is_shown_counts_all_images_the_same() -> None:
    _, weighted = moved([6, 4, 2], torch.tensor([0.1, 1.0, 50.0]))
    _, plain = moved([6, 4, 2], None)
    torch.testing.assert_close(weighted.loss, plain.loss)


def weighted_on(ranks: Ranks) -> list[float]:
    """Make a weighted step on the own images of a batch; return the weights after it."""
    options = {"optimizer": "sgd", "learning_rate": 0.1, "batch_size": 12}
    runtime = Runtime(torch.device("cpu"), ranks=ranks)
    weights = torch.tensor([0.5, 1.0, 2.0])
    step = TrainingStep(tiny_mixer(), Recipe().override(options), runtime, weights)
    images = torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    targets = torch.eye(3)[torch.arange(12) % 3 // (1 + torch.arange(12) % 2)]
    step(images[ranks.own], targets[ranks.own], 0, 1.0)
    return [float(one.detach().double().sum()) for one in step.model.parameters()]


def test_two_ranks_weigh_as_one() -> None:
    expected = weighted_on(ALONE)
    for found in on_ranks(2, weighted_on):
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("balance", ["sampling", "weights"])
def test_an_interrupted_balanced_run_continues_to_the_same_bits(
    unequal: Path, tmp_path: Path, training_steps: TrainingSteps, balance: str
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(recipe(unequal, balance=balance), whole, silent(), CPU)
    training_steps.interrupt_at = 12 + 7
    train(recipe(unequal, balance=balance, cache="none"), parts, silent(), CPU)
    assert train(Recipe.from_toml(parts / "recipe.toml"), parts, silent(), CPU, resume=True)
    one, other = load_file(whole / "model.safetensors"), load_file(parts / "model.safetensors")
    assert all(torch.equal(one[name], other[name]) for name in one)
    plain = tmp_path / "plain"
    train(recipe(unequal), plain, silent(), CPU)
    third = load_file(plain / "model.safetensors")
    assert not all(torch.equal(one[name], third[name]) for name in one)


def test_balanced_batches_reach_the_step(
    unequal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    make = TrainingStep.__call__

    def watched(self: Any, images: Any, targets: torch.Tensor, *others: Any) -> StepResult:
        seen.append(targets.sum(dim=0))
        return make(self, images, targets, *others)

    monkeypatch.setattr(TrainingStep, "__call__", watched)
    train(recipe(unequal, balance="sampling"), tmp_path / "run", silent(), CPU)
    assert torch.equal(torch.stack(seen), torch.full((12, 3), 2.0))


@pytest.mark.page
def test_the_report_counts_the_training_images_of_each_class(
    unequal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, file = tmp_path / "run", tmp_path / "mine.toml"
    file.write_text(recipe(unequal, balance="weights").to_toml())
    assert main(["train", "--recipe", str(file), "--out", str(run)]) == 0
    told = "classes have 3 (few) to 24 (many) training images; an image counts 0.542 to 4.33 times"
    assert told in capsys.readouterr().out
    page = (run / "report.html").read_text()
    assert told in page
    assert "Trained on" in page
    for name, count in COUNTS.items():
        assert f'<th scope="row">{name}</th><td class="right optional">{count}</td>' in page
    measured = json.loads((run / "evaluation.json").read_text())
    assert measured["mean_class_accuracy"] == pytest.approx(
        np.mean(list(measured["per_class"].values()))
    )


class InBlocks(ArraySplit):
    """A split that is read in blocks, as shards that lie elsewhere are."""

    blocks = np.array([0, 8])
    spread = ShuffleWindow()

    def prepare(self, indices: Any) -> None:
        """Nothing has to be fetched."""


def test_sampling_is_refused_where_images_are_read_in_blocks(
    unequal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, labels = np.zeros((16, 8, 8, 3), dtype=np.uint8), [0, 1] * 8
    data = Dataset("far away", ("a", "b"), {"train": InBlocks(pixels, labels, "far")})
    monkeypatch.setattr("mlpmixer.training.plan.open_source", lambda _: data)
    with pytest.raises(
        UsageError, match="far away, which is read in blocks: use --balance weights"
    ):
        plan(recipe(unequal, balance="sampling", image_size=8), CPU)
    planned = plan(recipe(unequal, balance="weights", image_size=8), CPU)
    assert list(islice(planned.dataset.splits, 2))


class Several(ArraySplit):
    """A split of which an image has two classes."""

    label_sets = LabelSets(np.array([0, 1, 0, 1]), np.array([2, 3, 4]))


@pytest.mark.parametrize("balance", ["sampling", "weights"])
def test_balance_is_refused_where_images_have_several_classes(
    unequal: Path, monkeypatch: pytest.MonkeyPatch, balance: str
) -> None:
    split = Several(np.zeros((3, 8, 8, 3), dtype=np.uint8), [0, 0, 1], "tags")
    data = Dataset("tags", ("a", "b"), {"train": split})
    monkeypatch.setattr("mlpmixer.training.plan.open_source", lambda _: data)
    asked = recipe(unequal, balance=balance, loss="sigmoid", validation_fraction=0.0)
    with pytest.raises(
        UsageError, match=r"of several classes, and --balance .*: leave --balance out"
    ):
        plan(asked, CPU)


def test_an_unknown_balance_is_named() -> None:
    with pytest.raises(UsageError, match=r"unknown balance 'weight'\. Did you mean weights"):
        Recipe().override({"balance": "weight"})
