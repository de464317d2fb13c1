"""What a model card says that a user must know."""

from typing import Any

import pytest

from mlpmixer.report.model_card import CardFacts, model_card


def card(*, exclusive: bool = True, **measured: Any) -> str:
    evaluation = {
        "images": 10_000,
        "split": "test",
        "top1": 0.9,
        "expected_calibration_error": 0.01,
        "per_class": {"cat": 0.9, "dog": 0.9},
        "confusion": [[90, 10], [10, 90]],
        **measured,
    }
    return str(
        model_card(
            CardFacts(
                model="mixer_s16",
                where="pets",
                parameters=1,
                image_size=(32, 32),
                num_classes=2,
                class_names=("cat", "dog"),
                evaluation=evaluation,
                exclusive=exclusive,
            )
        )
    )


@pytest.mark.parametrize(
    ("images", "confidence", "told"),
    [(10_000, 0.9, True), (100, 0.9, False), (100, 0.98, True), (10, 0.98, False)],
)
def test_confidence_is_called_wrong_where_there_are_enough_images(
    images: int, confidence: float, told: bool
) -> None:
    text = card(images=images, expected_calibration_error=0.08, mean_confidence=confidence)
    assert ("Its confidence is off by 8.0 points" in text) is told


def test_classes_without_an_accuracy_are_counted() -> None:
    assert "No image counted for 1 class:" in card(per_class={"cat": 0.9, "dog": None})


def test_validation_images_are_said_to_have_had_a_part_perhaps() -> None:
    assert "validation images, which may have taken part" in card(split="validation")
