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
    [(100, "Too few images to judge its confidence"), (10_000, "Over-confident")],
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
