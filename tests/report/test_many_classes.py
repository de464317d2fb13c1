"""What is written of an evaluation stays small and quick however many classes there are."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpmixer.evaluation.classify import Evaluation, Predictions
from mlpmixer.files import write_json
from mlpmixer.measures.calibration import Calibration
from mlpmixer.measures.confusion import Confusion
from mlpmixer.report.model_card import CardFacts, model_card
from mlpmixer.report.run_contents import DatasetFacts, Mistake, ReportContents, SkippedImage
from mlpmixer.report.run_page import write_report

MOST = 5_000_000  # bytes
IMAGES = 50_000


def evaluation(labels: np.ndarray, classes: int) -> Evaluation:
    """Return a made-up evaluation that is right on about a third of the images."""
    random = np.random.default_rng(0)
    guesses = random.choice(labels, len(labels))
    predicted = np.where(random.random(len(labels)) < 0.3, labels, guesses)
    confidence = random.random(len(labels)).astype(np.float32)
    bins = np.linspace(0, 1, 15)
    return Evaluation(
        Predictions(predicted, confidence, labels, np.arange(len(labels))),
        {"top1": 0.3, "top5": 0.5, "expected_calibration_error": 0.1},
        Calibration(np.full(15, len(labels) / 15), bins, bins),
        Confusion.count(labels, predicted, classes),
        1000.0,
    )


def write_all(folder: Path, found: Evaluation) -> None:
    """Write evaluation.json, report.html and README.md, the card, as a training does."""
    classes = range(found.confusion.classes)
    names = tuple(f"n{index:08} a synset, another word for it" for index in classes)
    measures = {"split": "test", **found.to_json(names)}
    write_json(folder / "evaluation.json", measures)
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (224, 224, 3), dtype=np.uint8)  # noise: the worst for JPEG
    mistakes = [
        Mistake(Image.fromarray(pixels), names[true], names[0], 0.9, "path/to/it.jpg")
        for true in found.predictions.labels[:24]
    ]
    contents = ReportContents(
        title="many classes",
        model="mixer_b16",
        class_names=names,
        class_correct=found.confusion.correct,
        class_total=found.confusion.total,
        confusion=found.confusion,
        metrics=found.metrics,
        calibration=found.calibration,
        mistakes=tuple(mistakes),
        dataset=DatasetFacts(
            name="photos",
            images={"test": found.images},
            unreadable=(SkippedImage("path/to/a/broken/image.jpg", "truncated"),) * 5000,
        ),
    )
    write_report(folder / "report.html", contents)
    card = model_card(
        CardFacts(
            model="mixer_b16",
            where="folder",
            parameters=1,
            image_size=(224, 224),
            num_classes=len(names),
            class_names=names,
            evaluation=json.loads((folder / "evaluation.json").read_text()),
        )
    )
    (folder / "README.md").write_text(str(card))


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        pytest.param(np.arange(IMAGES) % 21_843, 21_843, id="21843 classes"),
        pytest.param(np.arange(IMAGES) % 3_004, 3_004, id="3004 classes"),
        pytest.param(np.array([5, 7_001, 20_003] * 20), 20_004, id="numbers far apart"),
    ],
)
def test_files_stay_small(labels: np.ndarray, classes: int, tmp_path: Path) -> None:
    found = evaluation(labels, classes)
    write_all(tmp_path, found)
    sizes = {file.name: file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()}
    assert {"evaluation.json", "report.html", "README.md", "confusion_matrix.png"} <= set(sizes)
    assert {name: size for name, size in sizes.items() if size > MOST} == {}
    stored = json.loads((tmp_path / "evaluation.json").read_text())
    read = Confusion.from_json(stored["confusion"])
    assert read.most_confused(50) == found.confusion.most_confused(50)
    page = (tmp_path / "report.html").read_text()
    assert f"{min(classes, 1000):,} weakest of {classes:,} classes" in page
    worst = found.confusion.most_confused(1)[0]
    assert (
        f"n{worst.true:08} a synset, another word for it taken for n{worst.predicted:08}"
        in (tmp_path / "README.md").read_text()
    )
