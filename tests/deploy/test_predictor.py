"""`mlpmixer.Predictor`: from pictures in any form to named classes."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mlpmixer
from mlpmixer.data.picture import UnreadableImage
from mlpmixer.deploy.predictor import Predictor
from mlpmixer.errors import UsageError
from mlpmixer.models.interface import ImageModel

NAMES = ("daisy", "rose", "tulip")


@pytest.fixture
def model() -> ImageModel:
    torch.manual_seed(0)
    model = mlpmixer.create_model("mixer_nano", image_size=32, num_classes=3)
    torch.nn.init.normal_(model.get_parameter("head.weight"))
    model.class_names = NAMES
    return model.eval()


@pytest.fixture
def picture() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(pixels).resize((80, 60), Image.Resampling.BICUBIC)


def encoded(picture: Image.Image, kind: str = "png") -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind)
    return stream.getvalue()


def test_probabilities_are_those_of_the_model_on_the_evaluation_crop(
    model: ImageModel, picture: Image.Image
) -> None:
    predictor = Predictor(model)
    pixels = predictor.prepare(picture)
    with torch.inference_mode():
        expected = model(pixels[None] / 127.5 - 1).softmax(dim=1)
    torch.testing.assert_close(predictor.probabilities(pixels[None]), expected, rtol=1e-4, atol=0)


def test_a_path_bytes_a_pillow_image_and_pixels_are_the_same_picture(
    model: ImageModel, picture: Image.Image, tmp_path: Path
) -> None:
    path = tmp_path / "rose.png"
    path.write_bytes(encoded(picture))
    forms = [path, str(path), path.read_bytes(), picture, np.asarray(picture)]
    first, *others = Predictor(model)(forms)
    assert all(other == first for other in others)


def test_a_saved_model_is_loaded_with_its_names(
    model: ImageModel, picture: Image.Image, tmp_path: Path
) -> None:
    model.save(tmp_path / "flowers.safetensors")
    (ranked,) = mlpmixer.Predictor.load(tmp_path / "flowers.safetensors")([picture])
    assert sorted(one.label for one in ranked) == sorted(NAMES)
    assert [one.probability for one in ranked] == sorted(
        (one.probability for one in ranked), reverse=True
    )
    assert sum(one.probability for one in ranked) == pytest.approx(1, abs=1e-5)
    assert all(NAMES[one.index] == one.label for one in ranked)


def test_without_names_the_label_is_the_number(model: ImageModel, picture: Image.Image) -> None:
    model.class_names = None
    (ranked,) = Predictor(model)([picture], k=1)
    assert ranked[0].label == str(ranked[0].index)


def test_equal_probabilities_rank_by_class(model: ImageModel) -> None:
    (ranked,) = Predictor(model).best(torch.tensor([[0.25, 0.5, 0.25]]), k=3)
    assert [one.index for one in ranked] == [1, 0, 2]


def test_flip_averages_a_picture_and_its_mirror_image(
    model: ImageModel, picture: Image.Image
) -> None:
    mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    plain = Predictor(model)
    both = torch.stack([plain.prepare(picture), plain.prepare(mirrored)])
    expected = plain.probabilities(both).mean(dim=0)
    flipped = Predictor(model, flip=True)
    found = flipped.probabilities(flipped.prepare(picture)[None])[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_a_sigmoid_model_gives_each_class_its_own_probability(
    model: ImageModel, picture: Image.Image
) -> None:
    model.loss = "sigmoid"
    predictor = Predictor(model)
    pixels = predictor.prepare(picture)[None]
    with torch.inference_mode():
        expected = model(pixels / 127.5 - 1).sigmoid()
    torch.testing.assert_close(predictor.probabilities(pixels), expected, rtol=1e-4, atol=1e-6)


def test_a_picture_that_was_opened_stays_as_it_is(model: ImageModel, picture: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    stream = io.BytesIO()
    picture.save(stream, "jpeg", exif=exif)
    opened = Image.open(io.BytesIO(stream.getvalue()))
    predictor = Predictor(model)
    assert torch.equal(predictor.prepare(opened), predictor.prepare(stream.getvalue()))
    assert opened.size == picture.size
    assert opened.getexif()[0x0112] == 6


@pytest.mark.parametrize("k", [0, -1, 4])
def test_more_classes_than_there_are_is_refused(
    model: ImageModel, picture: Image.Image, k: int
) -> None:
    with pytest.raises(UsageError, match="the model has 3, give 1 to 3"):
        Predictor(model)([picture], k=k)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (lambda folder: folder / "missing.jpg", "No such file"),
        (lambda folder: b"no picture", "not an image of a known format"),
        (lambda folder: np.zeros((4, 4), np.uint8), r"pixels are uint8 \(H, W, 3\)"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_reason(
    model: ImageModel, tmp_path: Path, wrong: Callable[[Path], object], reason: str
) -> None:
    with pytest.raises(UnreadableImage, match=reason):
        Predictor(model)([wrong(tmp_path)])  # type: ignore[list-item]


def test_one_picture_without_a_list_is_refused(model: ImageModel) -> None:
    with pytest.raises(UsageError, match=r"predictor\(\[picture\]\)"):
        Predictor(model)("rose.jpg")


def test_a_model_without_a_head_is_refused(model: ImageModel) -> None:
    model.reset_classifier(0)
    with pytest.raises(UsageError, match="no head"):
        Predictor(model)
