"""Which pictures an inspection looks at."""

from pathlib import Path

import numpy as np
import pytest
import torch

import mlpmixer
from mlpmixer.data.options import DataOptions
from mlpmixer.inspect.examples import ExamplePictures, choose_examples, read_data
from mlpmixer.models.interface import ImageModel
from mlpmixer.run.console import Console
from mlpmixer.runtime import Runtime

OPTIONS = DataOptions(workers=1)
RUNTIME = Runtime(torch.device("cpu"))


def model(classes: int = 10) -> ImageModel:
    torch.manual_seed(0)
    shape = {"patch_size": 4, "width": 8, "depth": 1, "tokens_mlp_dim": 4, "channels_mlp_dim": 8}
    made = mlpmixer.create_model("mixer", image_size=8, num_classes=classes, **shape)
    torch.nn.init.normal_(made.get_parameter("head.weight"))
    return made.eval()


def test_some_of_the_data_is_read_always_the_same() -> None:
    one, names = read_data("digits", model(), 20, OPTIONS, Console("json"))
    other, _ = read_data("digits", model(), 20, OPTIONS, Console("json"))
    assert names == tuple(str(digit) for digit in range(10))
    assert one.inputs.shape == (20, 3, 8, 8)
    assert torch.equal(one.inputs, other.inputs)
    assert one.names == other.names
    assert all(name.startswith("digits test") for name in one.names)
    assert one.labels is not None
    assert len(set(one.labels)) > 5


def test_data_of_other_classes_are_read_without_labels(
    photo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, names = read_data(str(photo_folder), model(), 9, OPTIONS, Console("json"))
    assert found.labels is None
    assert names is None
    assert len(found.names) == 9
    assert "10 logits" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [0, 2, 40])
def test_right_answers_of_several_classes_come_before_the_surest_mistakes(wrong: int) -> None:
    made = model()
    inputs = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    logits = made(inputs).detach()
    predicted, sure = logits.argmax(dim=1), logits.softmax(dim=1).max(dim=1).values
    labels = predicted.clone()
    labels[:wrong] = (labels[:wrong] + 1) % 10
    names = tuple(str(index) for index in range(40))
    chosen = choose_examples(
        made, ExamplePictures(inputs, names, tuple((label,) for label in labels.tolist())), RUNTIME
    )
    rows = [int(name) for name in chosen.names]
    assert len(rows) == len(set(rows)) == 6
    mistakes = [row for row in rows if row < wrong]
    assert rows[len(rows) - len(mistakes) :] == mistakes
    assert len(mistakes) == {0: 0, 2: 2, 40: 6}[wrong]
    assert np.all(np.diff(sure[mistakes]) <= 0)
    right = [int(predicted[row]) for row in rows if row >= wrong]
    assert len(set(right)) == min(len(right), len(set(predicted[wrong:].tolist())))


def test_one_of_several_classes_is_a_right_answer() -> None:
    made = model()
    inputs = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    predicted = made(inputs).argmax(dim=1).tolist()
    labels = tuple(((one + 1) % 10, one) for one in predicted)
    names = tuple(map(str, range(8)))
    chosen = choose_examples(made, ExamplePictures(inputs, names, labels), RUNTIME)
    as_if_all_right = choose_examples(made, ExamplePictures(inputs, names), RUNTIME)
    assert chosen.names == as_if_all_right.names
