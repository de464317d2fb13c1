"""The measures of whole evaluations, against scikit-learn and against the models' own outputs."""

import os
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, top_k_accuracy_score

import mlpmixer
from mlpmixer.data.batches import Images
from mlpmixer.data.loader import open_images
from mlpmixer.data.options import DataOptions
from mlpmixer.data.splits import ArraySplit
from mlpmixer.errors import UsageError
from mlpmixer.evaluation.classify import NotFinite, accuracy, classify
from mlpmixer.measures.calibration import BINS
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.preprocessing import Preprocessing
from mlpmixer.runtime import Runtime

CPU = Runtime(torch.device("cpu"))


def noise(images: int = 60, classes: int = 7, last: int = 0) -> Images:
    """Return noise with labels; the `last` classes have no image."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (images, 8, 8, 3), dtype=np.uint8)
    labels = random.integers(0, classes - last, images)
    split = ArraySplit(pixels, labels, "noise")
    return open_images(split, Preprocessing(image_size=(8, 8)), DataOptions(cache="memory"))


def model(classes: int = 7, loss: Literal["softmax", "sigmoid"] = "softmax") -> ImageModel:
    torch.manual_seed(0)
    made = mlpmixer.create_model("mixer_nano", image_size=8, depth=2, num_classes=classes)
    torch.nn.init.normal_(made.get_submodule("head").weight, std=0.3)
    made.loss = loss
    return made.eval()


def scores(made: ImageModel, images: Images) -> tuple[torch.Tensor, np.ndarray]:
    """Return the logits, and the probabilities by hand."""
    with torch.inference_mode():
        logits = made(images.pixels / 127.5 - 1)
    by_hand = logits.sigmoid() if made.loss == "sigmoid" else logits.softmax(dim=1)
    return logits, by_hand.numpy()


def ece(confidence: np.ndarray, right: np.ndarray) -> float:
    which = np.minimum((confidence * BINS).astype(int), BINS - 1)
    parts = [which == one for one in range(BINS)]
    return sum(
        part.mean() * abs(confidence[part].mean() - right[part].mean())
        for part in parts
        if part.any()
    )


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_flip_averages_the_probabilities_of_image_and_mirror_image(
    loss: Literal["softmax", "sigmoid"],
) -> None:
    made, images = model(loss=loss), noise()
    mirrored = noise()
    mirrored.pixels = mirrored.pixels.flip(3)
    plain = classify(made, images, CPU)
    expected = (scores(made, images)[1] + scores(made, mirrored)[1]) / 2
    found = classify(made, images, CPU, flip=True)
    np.testing.assert_array_equal(found.predictions.predicted, expected.argmax(axis=1))
    np.testing.assert_allclose(found.predictions.confidence, expected.max(axis=1), atol=1e-5)
    assert not np.allclose(found.predictions.confidence, plain.predictions.confidence, atol=1e-3)
    again = classify(made, mirrored, CPU, flip=True)
    np.testing.assert_allclose(
        again.predictions.confidence, found.predictions.confidence, atol=1e-5
    )


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_measures_are_those_of_the_models_own_probabilities(
    loss: Literal["softmax", "sigmoid"],
) -> None:
    made, images = model(loss=loss), noise()
    logits, probabilities = scores(made, images)
    labels, predicted = images.labels.numpy(), logits.argmax(1).numpy()
    found = classify(made, images, CPU, batch_size=25)
    confidence = probabilities.max(axis=1)
    np.testing.assert_array_equal(found.predictions.predicted, predicted)
    np.testing.assert_allclose(found.predictions.confidence, confidence, atol=1e-5)
    assert found.predictions.indices.tolist() == list(range(60))
    assert found.images == 60
    assert found.top1 == pytest.approx(accuracy_score(labels, predicted))
    assert found.top1 == accuracy(made, images, CPU, batch_size=25)
    top5 = top_k_accuracy_score(labels, logits, k=5, labels=range(7))
    assert found.metrics["top5"] == pytest.approx(top5)
    expected = ece(confidence, predicted == labels)
    assert found.metrics["expected_calibration_error"] == pytest.approx(expected, abs=1e-5)
    assert found.calibration.expected_error == found.metrics["expected_calibration_error"]
    right = found.confusion.matrix()
    np.testing.assert_allclose(found.per_class, right.diagonal() / right.sum(axis=1))


def test_sigmoid_and_softmax_disagree_about_confidence() -> None:
    """The test above could not see a confusion of the two if they agreed."""
    images = noise()
    found = [classify(model(loss=loss), images, CPU) for loss in ("softmax", "sigmoid")]
    assert abs(found[0].calibration.mean_confidence - found[1].calibration.mean_confidence) > 0.1


def test_logits_decide_where_probabilities_are_rounded_to_a_draw() -> None:
    made, images = model(loss="sigmoid"), noise()
    with torch.no_grad():
        made.get_parameter("head.bias").add_(60)
    logits, probabilities = scores(made, images)
    assert (probabilities == 1).all()
    found = classify(made, images, CPU)
    np.testing.assert_array_equal(found.predictions.predicted, logits.argmax(1).numpy())


def test_a_class_without_images_has_no_accuracy() -> None:
    found = classify(model(3), noise(classes=3, last=1), CPU)
    assert np.isnan(found.per_class[2])
    assert found.to_json(["a", "b", "c"])["per_class"]["c"] is None


def test_any_allowed_class_is_right_and_images_without_one_are_left_out() -> None:
    made, images = model(3), noise(4, classes=3)
    predicted = scores(made, images)[0].argmax(1).tolist()
    other = (predicted[2] + 1) % 3
    allowed = [[predicted[0]], [0, 1, 2], [other], []]
    found = classify(made, images, CPU, allowed=allowed, batch_size=3)
    assert found.metrics["multi_label_accuracy"] == pytest.approx(2 / 3)
    assert "multi_label_accuracy" not in classify(made, images, CPU).metrics


def test_the_surest_mistakes_come_first() -> None:
    made, images = model(), noise()
    found = classify(made, images, CPU).predictions
    rows = found.surest_mistakes(5)
    assert len(rows) == 5
    assert (found.predicted[rows] != found.labels[rows]).all()
    wrong = found.confidence[found.predicted != found.labels]
    np.testing.assert_array_equal(found.confidence[rows], np.sort(wrong)[::-1][:5])


def test_nothing_readable_is_wrong_use() -> None:
    with pytest.raises(UsageError, match="no readable image"):
        classify(model(), noise(0), CPU)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_memory_does_not_grow_with_images_times_classes() -> None:
    images, classes, batch = 2000, 20_000, 50
    resident: list[int] = []

    def note(_: float) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        resident.append(pages * os.sysconf("SC_PAGE_SIZE"))

    made, shown = model(classes), noise(images, classes)
    found = classify(made, shown, CPU, batch_size=batch, on_progress=note)
    assert len(resident) == images // batch
    assert resident[-1] - resident[4] < images * classes * 4 / 4
    assert found.confusion.total.sum() == images


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_answers_that_are_no_numbers_are_an_error_with_advice(value: float) -> None:
    made = model()
    with torch.no_grad():
        made.get_submodule("head").weight[3] = value
    for measure in (accuracy, classify):
        with pytest.raises(NotFinite, match=r"not finite numbers.*lower --learning-rate"):
            measure(made, noise(), CPU)
