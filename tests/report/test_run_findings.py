"""What a report says for and against trusting a model, where chance could say it too."""

from typing import Any

import numpy as np
import pytest

from mlpmixer.measures.calibration import Calibration
from mlpmixer.report.run_contents import DatasetFacts, ReportContents
from mlpmixer.report.run_findings import Finding, findings


def contents(correct: list[int], total: list[int], **changes: Any) -> ReportContents:
    return ReportContents(
        title="pets",
        model="mixer_s16",
        class_names=tuple(f"class {number}" for number in range(len(total))),
        class_correct=np.array(correct),
        class_total=np.array(total),
        dataset=DatasetFacts(name="photos", images={"test": sum(total)}),
        **changes,
    )


def calibration(*bins: tuple[float, float, int]) -> Calibration:
    """Return the calibration of bins, each its confidence, its accuracy and its images."""
    confidence, accuracy, counts = np.array(bins, dtype=float).T
    return Calibration(counts, confidence, accuracy)


def found(given: ReportContents) -> dict[str, Finding]:
    return {finding.title: finding for finding in findings(given)}


@pytest.mark.parametrize(
    ("images", "title"),
    [(40, "Too few images to judge its confidence"), (100, "Over-confident")],
)
def test_confidence_is_called_wrong_where_there_are_enough_images(images: int, title: str) -> None:
    half = images // 2
    measured = calibration((0.7, 0.6, half), (0.9, 0.8, half))
    right = [half * 6 // 10, half * 8 // 10]
    assert title in found(contents(right, [half, half], calibration=measured))


def test_confidence_that_is_wrong_in_both_directions_is_called_uneven() -> None:
    measured = calibration((0.99, 0.80, 5000), (0.50, 0.70, 5000))
    given = found(contents([4000, 3500], [5000, 5000], calibration=measured))
    assert "off by 19.5 points" in given["Uneven confidence"].text


def test_a_class_of_few_images_that_are_all_wrong_falls_behind() -> None:
    given = found(contents([970, 1000, 0], [1000, 1000, 9]))
    assert "“class 2” is recognised in 0.0 %" in given["A class falls behind"].text


def test_a_class_falls_behind_also_where_the_accuracy_is_low() -> None:
    assert "A class falls behind" in found(contents([140] * 9 + [0], [1000] * 10))
    assert "No class falls far behind" in found(contents([140] * 9 + [120], [1000] * 10))


@pytest.mark.parametrize(("classes", "images"), [(1000, 10), (1000, 50), (100, 10)])
def test_the_weakest_of_many_equal_classes_does_not_fall_behind(classes: int, images: int) -> None:
    right = np.random.default_rng(0).binomial(images, 0.8, classes)
    given = found(contents(right.tolist(), [images] * classes))
    assert "which chance can make of" in given["No class clearly falls behind"].text


def test_classes_of_few_images_are_not_said_to_be_well_recognised() -> None:
    given = found(contents([950, 950, 7], [1000, 1000, 9]))
    assert (
        "1 class with fewer than 10 images cannot be judged"
        in given["None of 2 classes clearly falls behind"].text
    )


def test_an_untested_class_does_not_hide_one_that_falls_behind() -> None:
    given = found(contents([1000, 100, 0], [1000, 1000, 0]))
    assert {"Untested classes", "A class falls behind"} <= set(given)


def test_what_images_of_several_classes_have_is_counted_by_all_of_them() -> None:
    """Every picture shows a pet and is rightly called cat or dog: pet itself is never preferred."""
    given = contents([0, 450, 460], [0, 500, 500], class_tested=np.array([1000, 500, 500]))
    assert given.baseline == 1
    assert given.most_frequent_class == 0
    assert "Hardly better than guessing" in found(given)
    assert "Untested classes" not in found(given)
