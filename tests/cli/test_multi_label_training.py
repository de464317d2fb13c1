"""Data with several classes an image: trained with the sigmoid loss, measured by precision at 1."""

import io
import json
import tarfile
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits

import mlpmixer
from mlpmixer.cli.main import main
from mlpmixer.data.loader import open_images
from mlpmixer.data.options import DataOptions
from mlpmixer.data.sources import open_source

pytestmark = pytest.mark.page

CLASSES = 10


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits with their number and, of odd ones, the class "odd"; 40 to train on, 40 to test."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("multi")
    digits = load_digits()
    for split, begin in (("train", 0), ("test", 40)):
        with tarfile.open(folder / f"{split}-0.tar", "w") as tar:
            for index in range(begin, begin + 40):
                number = int(digits.target[index])
                buffer = io.BytesIO()
                pixels = (digits.images[index] * 15).astype("uint8")
                Image.fromarray(pixels).save(buffer, "PNG")
                names = [f"digit {number}"] + ["odd"] * (number % 2)
                label = json.dumps({"label": names}).encode()
                for suffix, body in (("png", buffer.getvalue()), ("json", label)):
                    entry = tarfile.TarInfo(f"{index:03}.{suffix}")
                    entry.size = len(body)
                    tar.addfile(entry, io.BytesIO(body))
    return folder


@pytest.fixture(scope="module")
def run(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    shape = ["--model", "mixer_nano", "--depth", "2", "--image-size", "8", "--patch-size", "2"]
    brief = ["--steps", "40", "--batch-size", "16", "--workers", "0", "--device", "cpu"]
    data = ["--data", str(shards), "--loss", "sigmoid", "--flip", "0"]
    assert main(["train", *data, *shape, *brief, "--out", str(out)]) == 0
    return out


def test_an_answer_is_right_where_it_is_one_of_the_classes(
    run: Path, shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["eval", str(run), "--data", str(shards), "--workers", "0", "--json"]
    capsys.readouterr()
    assert main(command) == 0
    found = capsys.readouterr()
    measured = json.loads(found.out)
    assert "images have several classes" in found.err
    model = mlpmixer.load(run)
    split = open_source(str(shards)).splits["test"]
    names = [
        {f"digit {number}"} | ({"odd"} if number % 2 else set())
        for number in load_digits().target[40:80].tolist()
    ]
    images = open_images(split, model.preprocessing, DataOptions(workers=0))
    with torch.inference_mode():
        logits = model(next(images.evaluation_batches(40)).images / 127.5 - 1)
    ranked = logits.argsort(dim=1, descending=True).tolist()
    assert model.class_names is not None
    top = [[model.class_names[label] for label in row] for row in ranked]
    right = sum(row[0] in true for row, true in zip(top, names, strict=True))
    in_five = sum(bool(true & set(row[:5])) for row, true in zip(top, names, strict=True))
    assert measured["top1"] == right / 40
    assert measured["top5"] == in_five / 40
    odd_ones = sum(row[0] == "odd" and "odd" in true for row, true in zip(top, names, strict=True))
    assert odd_ones > 0  # the second class of an image


def test_training_validation_and_report_agree(run: Path) -> None:
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert 0.2 < evaluation["top1"] <= 1
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert max(one["train_accuracy"] for one in records if "train_accuracy" in one) > 0.4
    assert "several classes" in (run / "report.html").read_text()


def test_the_softmax_loss_is_refused(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--data", str(shards), "--steps", "2", "--out", str(tmp_path / "run")]
    assert main(command) == 2
    assert "use --loss sigmoid" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_few_shot_probes_are_refused(
    run: Path, shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fewshot", "--from", str(run), "--data", str(shards), "--shots", "1"]) == 2
    assert "draw their shots by one class" in capsys.readouterr().err


def test_a_look_at_the_data_counts_the_classes_of_images(
    shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", str(shards)]) == 0
    assert "1 to 2 classes an image (1.5)" in capsys.readouterr().out
    assert main(["data", str(shards), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    train = record["splits"]["train"]
    assert train["classes_an_image"]["most"] == 2
    odd = record["class_names"].index("odd")
    assert train["per_class"][odd] == sum(load_digits().target[:40] % 2)
    assert sum(train["per_class"]) == 40 + train["per_class"][odd]
