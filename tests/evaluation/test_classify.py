"""The measures, against hand-made predictions and scikit-learn."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, top_k_accuracy_score

import mlpmixer
from mlpmixer.data.batches import Unreadable
from mlpmixer.data.in_memory import InMemoryImages
from mlpmixer.data.splits import ArraySplit
from mlpmixer.errors import UsageError
from mlpmixer.evaluation.classify import (
    Predictions,
    calibration,
    evaluate,
    multi_label_accuracy,
    predict,
    read_label_sets,
)


def predictions(probabilities: np.ndarray, labels: list[int]) -> Predictions:
    return Predictions(
        probabilities=probabilities.astype(np.float32),
        labels=np.array(labels),
        indices=np.arange(len(labels)),
        images_per_second=1.0,
    )


def random_predictions(images: int = 500, classes: int = 7) -> Predictions:
    random = np.random.default_rng(0)
    scores = random.dirichlet(np.ones(classes), images)
    return predictions(scores, list(random.integers(0, classes, images)))


def test_accuracies_equal_those_of_scikit_learn() -> None:
    made = random_predictions()
    measured = evaluate(made)
    assert measured.top1 == pytest.approx(accuracy_score(made.labels, made.predicted))
    top5 = top_k_accuracy_score(made.labels, made.probabilities, k=5, labels=range(7))
    assert measured.top5 == pytest.approx(top5)
    assert measured.confusion.sum() == 500
    right = measured.confusion.diagonal() / measured.confusion.sum(axis=1)
    np.testing.assert_allclose(measured.per_class, right)


def test_a_class_without_images_has_no_accuracy() -> None:
    measured = evaluate(predictions(np.eye(3)[[0, 1]], [0, 1]))
    assert np.isnan(measured.per_class[2])
    assert measured.to_json(["a", "b", "c"])["per_class"] == {"a": 1.0, "b": 1.0, "c": None}


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    sure = np.tile([0.9, 0.1], (10, 1))
    half_right = predictions(sure, [0] * 5 + [1] * 5)
    assert calibration(half_right).expected_error == pytest.approx(0.4, abs=1e-6)
    nine_right = predictions(sure, [0] * 9 + [1])
    assert calibration(nine_right).expected_error == pytest.approx(0.0, abs=1e-6)


def test_certainty_counts_in_the_last_bin() -> None:
    found = calibration(predictions(np.eye(2)[[0, 0]], [0, 1]))
    assert found.counts[-1] == 2
    assert found.expected_error == pytest.approx(0.5)


def test_any_allowed_class_is_right_and_images_without_one_are_left_out() -> None:
    made = predictions(np.eye(3)[[0, 1, 2, 0]], [0, 0, 0, 0])
    assert multi_label_accuracy(made, [[0], [0, 1], [1], []]) == pytest.approx(2 / 3)


def test_label_sets_must_fit_the_images(tmp_path: Path) -> None:
    made = predictions(np.eye(2), [0, 1])
    with pytest.raises(UsageError, match="at least 2 images"):
        multi_label_accuracy(made, [[0]])
    with pytest.raises(UsageError, match="nothing to measure"):
        multi_label_accuracy(made, [[], []])
    file = tmp_path / "sets.json"
    file.write_text(json.dumps([[0], [1, 2]]))
    assert read_label_sets(file) == [[0], [1, 2]]
    for content in ("{", '{"a": 1}', "[1, 2]"):
        file.write_text(content)
        with pytest.raises(UsageError, match=r"sets\.json"):
            read_label_sets(file)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_predictions_are_the_softmax_of_the_models_logits(precision: torch.dtype) -> None:
    torch.manual_seed(0)
    model = mlpmixer.create_model("mixer_nano", image_size=8, depth=2)
    torch.nn.init.normal_(model.head.weight, std=0.3)
    pixels = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), dtype=np.uint8)
    split = ArraySplit(pixels, [0] * 10, "noise")
    images = InMemoryImages(split, (8, 8), 1, Unreadable(10, 0.0))
    made = predict(model, images, batch_size=4, precision=precision)
    inputs = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
    expected = model(inputs).softmax(1).detach().numpy()
    tolerance = 1e-5 if precision == torch.float32 else 0.03
    np.testing.assert_allclose(made.probabilities, expected, atol=tolerance)
    assert made.indices.tolist() == list(range(10))
    assert not model.training
