"""A model trained with the sigmoid loss is judged by it wherever its probabilities are shown."""

import json
from pathlib import Path

import pytest
import torch

import mlpmixer
from mlpmixer.cli.main import main
from mlpmixer.report.run_contents import OF_EACH_CLASS

pytestmark = pytest.mark.page


def trained(data: Path, loss: str, out: Path) -> Path:
    shape = ["--model", "mixer_nano", "--depth", "2", "--image-size", "16"]
    brief = ["--steps", "30", "--batch-size", "15", "--workers", "0", "--device", "cpu"]
    command = ["train", "--data", str(data), "--loss", loss, *shape, *brief, "--out", str(out)]
    assert main(command) == 0
    return out


@pytest.fixture(scope="module")
def run(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(photo_folder, "sigmoid", tmp_path_factory.mktemp("sigmoid") / "run")


def test_the_loss_is_saved_with_the_weights_and_decides_the_probabilities(run: Path) -> None:
    model = mlpmixer.load(run)
    assert model.loss == "sigmoid"
    logits = torch.tensor([[1.0, -2.0, 0.5]])
    assert torch.equal(model.probabilities(logits), logits.sigmoid())


def test_the_predictor_gives_each_class_a_probability_of_its_own(
    run: Path, photo_folder: Path
) -> None:
    picture = next((photo_folder / "test").rglob("*.png"))
    (ranked,) = mlpmixer.Predictor.load(run, device="cpu")([picture])
    model = mlpmixer.load(run)
    pixels = mlpmixer.Predictor(model).prepare(picture)[None]
    with torch.inference_mode():
        expected = model(pixels / 127.5 - 1).sigmoid()[0]
    for one in ranked:
        assert one.probability == pytest.approx(float(expected[one.index]), abs=1e-5)


def test_evaluation_measures_calibration_by_the_sigmoid(
    run: Path, photo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["eval", str(run), "--data", str(photo_folder), "--workers", "0", "--json"]
    assert main(command) == 0
    by_sigmoid = json.loads(capsys.readouterr().out)
    model = mlpmixer.load(run)
    model.loss = "softmax"
    model.save(run.parent / "softmax.safetensors")
    command[1] = str(run.parent / "softmax.safetensors")
    assert main(command) == 0
    by_softmax = json.loads(capsys.readouterr().out)
    assert by_sigmoid["top1"] == by_softmax["top1"]
    error = "expected_calibration_error"
    assert by_sigmoid[error] != pytest.approx(by_softmax[error], rel=1e-3)


def test_the_loss_stands_in_the_configuration_of_a_published_model(run: Path) -> None:
    mlpmixer.save_pretrained(mlpmixer.load(run), run.parent / "model")
    said = json.loads((run.parent / "model" / "config.json").read_text())
    assert said["loss"] == "sigmoid"


def test_report_and_card_say_that_probabilities_are_of_each_class(run: Path) -> None:
    mlpmixer.save_pretrained(run, run.parent / "card")
    assert OF_EACH_CLASS in (run / "report.html").read_text()
    assert OF_EACH_CLASS in (run.parent / "card" / "README.md").read_text()


def test_report_and_card_of_a_softmax_run_do_not_say_so(photo_folder: Path, tmp_path: Path) -> None:
    run = trained(photo_folder, "softmax", tmp_path / "run")
    mlpmixer.save_pretrained(run, tmp_path / "card")
    page, card = (run / "report.html").read_text(), (tmp_path / "card" / "README.md").read_text()
    assert "Of the predictions made with a confidence of 80" in page  # where it would stand
    assert "one of the 3 classes" in card
    assert OF_EACH_CLASS not in page
    assert OF_EACH_CLASS not in card
