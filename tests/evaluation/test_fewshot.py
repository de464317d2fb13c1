"""The few-shot probe: the regression against scikit-learn's, the protocol, the cache."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge
from torch import Tensor

import mlpmixer
from mlpmixer.data.batches import Images
from mlpmixer.data.dataset import Split
from mlpmixer.data.loader import open_images
from mlpmixer.data.options import DataOptions
from mlpmixer.data.picture import decode
from mlpmixer.data.splits import ArraySplit
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.evaluation.classify import NotFinite
from mlpmixer.evaluation.features import extract
from mlpmixer.evaluation.fewshot import few_shot, support_sets
from mlpmixer.evaluation.probe import ProbeResult, probe
from mlpmixer.evaluation.ridge import BIAS, FIXED_STRENGTH, LEAST_SPREAD, fit
from mlpmixer.models.preprocessing import Preprocessing
from mlpmixer.run.console import Console
from mlpmixer.runtime import Runtime

CPU = Runtime(torch.device("cpu"))


def made_up(images: int, width: int, classes: int = 4) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(images) % classes
    centres = torch.randn(classes, width, generator=random)
    return centres[labels] + torch.randn(images, width, generator=random), labels


@pytest.mark.parametrize(("images", "width"), [(60, 12), (20, 90), (31, 30)])
def test_predictions_equal_those_of_scikit_learns_ridge(images: int, width: int) -> None:
    features, labels = made_up(images, width)
    probed, _ = made_up(37, width)
    strengths = (0.01, 1.0, 100.0)
    mean, std = features.double().mean(0), features.double().std(0, correction=0) + LEAST_SPREAD

    def inputs(values: Tensor) -> np.ndarray:
        bias = torch.full((len(values), 1), BIAS, dtype=torch.float64)
        return torch.cat([(values.double() - mean) / std, bias], dim=1).numpy()

    wanted = 2.0 * np.eye(4)[labels] - 1
    sweep = fit(features, labels, 4, strengths)
    for strength, scores in zip(strengths, sweep.scores(probed), strict=True):
        ridge = Ridge(alpha=strength, fit_intercept=False, solver="svd")
        expected = ridge.fit(inputs(features), wanted).predict(inputs(probed))
        np.testing.assert_allclose(scores.numpy(), expected, atol=1e-6)


def test_a_constant_feature_does_no_harm() -> None:
    features, labels = made_up(40, 8)
    features[:, 3] = 7.0
    scores = next(fit(features, labels, 4, (1.0,)).scores(features))
    assert torch.isfinite(scores).all()
    assert (scores.argmax(1) == labels).double().mean() > 0.8


def test_features_of_rounding_noise_do_no_harm() -> None:
    features, labels = made_up(40, 8)
    noise = 1 + 1e-8 * torch.randn(40, 400, generator=torch.Generator().manual_seed(1)).double()
    train = torch.cat([features.double(), noise], dim=1)
    test = torch.cat([features.double(), noise.flip(0)], dim=1)
    supports = support_sets(labels, 4, (10,), 1)
    noisy = few_shot((train, labels), (test, labels), 4, supports)
    plain = few_shot((features, labels), (features, labels), 4, supports)
    assert noisy.mean[0] == pytest.approx(plain.mean[0], abs=0.05)


def test_the_accuracy_at_the_authors_strength_is_told_beside_the_best() -> None:
    data = made_up(40, 8)
    supports = support_sets(data[1], 4, (1, 5))
    result = few_shot(data, data, 4, supports)
    fixed = result.at_fixed_strength
    assert fixed is not None
    alone = few_shot(data, data, 4, supports, (FIXED_STRENGTH,))
    np.testing.assert_array_equal(fixed, alone.mean)
    assert (fixed <= result.mean).all()
    assert result.to_json()["accuracy_at_fixed_strength"] == fixed.tolist()
    assert few_shot(data, data, 4, supports, (1.0,)).at_fixed_strength is None


def test_a_support_set_is_balanced_seeded_and_nested() -> None:
    labels = torch.arange(40) % 4
    sets = support_sets(labels, 4, shots=(2, 5), seeds=2)
    five = sets[5, 1]
    assert torch.bincount(labels[five]).tolist() == [5, 5, 5, 5]
    assert torch.equal(five, support_sets(labels, 4, shots=(5,), seeds=2)[5, 1])
    assert not torch.equal(five, sets[5, 0])
    assert set(sets[2, 1].tolist()) < set(five.tolist())


def test_too_few_images_of_a_class_are_named() -> None:
    with pytest.raises(UsageError, match=r"class 1 has 1 .*--shots 1"):
        support_sets(torch.tensor([0, 0, 1]), 2, shots=(2,), seeds=1)


@pytest.mark.parametrize("wrong", [{"shots": (0,)}, {"shots": ()}, {"seeds": 0}])
def test_shots_and_seeds_must_be_positive(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="positive"):
        support_sets(made_up(20, 4)[1], 4, **wrong)


def test_strengths_must_be_positive() -> None:
    data = made_up(20, 4)
    with pytest.raises(UsageError, match="positive"):
        few_shot(data, data, 4, support_sets(data[1], 4, (1,)), (0.0,))


def test_more_shots_classify_digits_better() -> None:
    digits = load_digits()
    pixels, labels = torch.tensor(digits.data), torch.tensor(digits.target)
    half = len(labels) // 2
    train, test = (pixels[:half], labels[:half]), (pixels[half:], labels[half:])
    result = few_shot(train, test, 10, support_sets(labels[:half], 10, (1, 5, 25)))
    assert result.accuracy.shape == (3, 3, len(result.strengths))
    assert (np.diff(result.mean) > 0.05).all()
    assert result.mean[-1] > 0.85
    assert result.spread[0] > result.spread[-1]


@pytest.fixture
def images() -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    split = ArraySplit(pixels, np.arange(12) % 3, "noise")
    return open_images(split, Preprocessing(image_size=(8, 8)), DataOptions(cache="memory"))


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLPMIXER_DATA", str(tmp_path))
    return tmp_path / "features"


def model(name: str = "mixer_nano") -> mlpmixer.models.interface.ImageModel:
    torch.manual_seed(0)
    return mlpmixer.create_model(name, image_size=8).eval()


@torch.inference_mode()
def test_features_are_the_pooled_representation_or_a_layers_mean(
    images: Images, kept: Path
) -> None:
    mixer = model()
    inputs = images.pixels / 127.5 - 1
    features, labels = extract(mixer, images, CPU, batch_size=5)
    pooled = mixer.forward_head(mixer.forward_features(inputs), pre_logits=True)
    torch.testing.assert_close(features, pooled)
    assert torch.equal(labels, images.labels)
    third, _ = extract(mixer, images, CPU, layer="blocks.2")
    expected = mlpmixer.capture(mixer, inputs, ["blocks.2"])["blocks.2"].mean(1)
    torch.testing.assert_close(third, expected)


def test_features_of_a_convolutional_network_are_averaged_over_places(
    images: Images, kept: Path
) -> None:
    features, _ = extract(model("bit_nano"), images, CPU, layer="net.stages.1")
    assert features.ndim == 2


def test_features_are_computed_once_for_the_same_weights_and_pixels(
    images: Images, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixer = model()
    first, _ = extract(mixer, images, CPU)
    assert len(list(kept.iterdir())) == 1
    with monkeypatch.context() as patch:
        patch.setattr(type(mixer), "forward_features", None)  # must not be needed again
        again, _ = extract(mixer, images, CPU)
    assert torch.equal(first, again)


@pytest.mark.parametrize("change", ["weights", "pixels", "labels", "layer", "precision"])
def test_any_change_gives_features_of_their_own(change: str, images: Images, kept: Path) -> None:
    mixer, runtime, layer = model(), CPU, None
    extract(mixer, images, runtime)
    if change == "weights":
        with torch.no_grad():
            mixer.norm.bias[3] += 1e-3
    elif change == "pixels":
        images.pixels[0, 0, 0, 0] ^= 1
    elif change == "labels":
        images.labels[0] += 1
    elif change == "layer":
        layer = "blocks.0"
    else:
        runtime = Runtime(CPU.device, torch.bfloat16)
    extract(mixer, images, runtime, layer=layer)
    assert len(list(kept.iterdir())) == 2


def test_features_that_are_no_numbers_are_refused_and_not_kept(images: Images, kept: Path) -> None:
    diverged = model()
    with torch.no_grad():
        next(diverged.parameters()).fill_(torch.nan)
    with pytest.raises(NotFinite, match="not finite numbers"):
        extract(diverged, images, CPU)
    assert not kept.exists()


def test_nothing_is_kept_unless_wanted(images: Images, kept: Path) -> None:
    extract(model(), images, CPU, keep=False)
    assert not kept.exists()


def test_of_the_training_images_only_the_support_sets_are_read(
    tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 4)):
        for name in ("blue", "red"):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / f"photos/{split}/{name}/{number:02}.png")
    mlpmixer.save(model(), tmp_path / "model.safetensors")
    decoded: list[str] = []

    def watched(split: Split, index: int, **options: Any) -> Image.Image:
        decoded.append(split.name(index))
        return decode(split, index, **options)

    monkeypatch.setattr("mlpmixer.data.picture.decode", watched)
    found = probed(tmp_path)
    trained_on = {name for name in decoded if "photos/train" in name}
    assert len(trained_on) == 2 * 3  # classes, shots
    assert found.images == 8

    broken = Path(sorted(trained_on)[0])
    broken.write_bytes(b"no image")
    decoded.clear()
    again = probed(tmp_path)
    drawn_anew = {name for name in decoded if "photos/train" in name} - {str(broken)}
    assert len(drawn_anew) >= 2 * 3
    assert "skipped" in capsys.readouterr().err
    assert again.result.accuracy.shape == found.result.accuracy.shape

    for image in (tmp_path / "photos" / "train").rglob("*.png"):
        image.write_bytes(b"no image")
    with pytest.raises(MixerError, match="images are unreadable"):
        probed(tmp_path)


def probed(folder: Path) -> ProbeResult:
    return probe(
        str(folder / "model.safetensors"),
        str(folder / "photos"),
        image_size=None,
        layer=None,
        shots=(3,),
        seeds=1,
        options=DataOptions(max_unreadable=0.1),
        runtime=CPU,
        keep=False,
        console=Console("plain"),
    )
