"""Many pictures at once give the answers that each gives by itself, in any number of threads."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from flower_model import flower_model, save_pictures
from PIL import Image, ImageOps

from mlpmixer.data.unlabelled import find_pictures
from mlpmixer.deploy.prediction_stream import Row, predict_stream
from mlpmixer.deploy.predictor import Predictor


def rows(predictor: Predictor, paths: list[Path], workers: int = 2, batch: int = 4) -> list[Row]:
    pictures = find_pictures([str(path) for path in paths]).pictures
    stream = predict_stream(
        predictor, pictures, range(len(pictures)), 3, batch_size=batch, workers=workers
    )
    return [row for part in stream for row in part]


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("count", [1, 4, 11])
def test_every_picture_has_the_row_that_it_has_alone(
    workers: int, count: int, tmp_path: Path
) -> None:
    paths = save_pictures(tmp_path, count)
    predictor = Predictor(flower_model())
    found = rows(predictor, paths, workers)
    assert [row.position for row in found] == list(range(count))
    for row, alone in zip(found, predictor(paths, k=3), strict=True):
        assert [one.label for one in row.predictions] == [one.label for one in alone]
        shares = [one.probability for one in row.predictions]
        assert shares == pytest.approx([one.probability for one in alone], rel=1e-4)


def test_an_unreadable_picture_is_a_row_with_its_reason_and_the_others_stay(
    tmp_path: Path,
) -> None:
    paths = save_pictures(tmp_path, 6)
    for number in (0, 3):
        paths[number].write_bytes(paths[number].read_bytes()[:60])
    predictor = Predictor(flower_model())
    found = rows(predictor, paths, batch=3)
    assert [row.position for row in found if row.error] == [0, 3]
    whole = [path for number, path in enumerate(paths) if number not in (0, 3)]
    alone = predictor(whole, k=1)
    labels = [row.predictions[0].label for row in found if not row.error]
    assert labels == [one[0].label for one in alone]


def test_a_batch_without_a_readable_picture_is_all_errors(tmp_path: Path) -> None:
    path = tmp_path / "empty.png"
    path.touch()
    (row,) = rows(Predictor(flower_model()), [path])
    assert row.error == "it is empty"
    assert row.predictions == ()


def test_a_reader_that_leaves_early_ends_the_threads(tmp_path: Path) -> None:
    pictures = find_pictures([str(one) for one in save_pictures(tmp_path, 9)]).pictures
    stream = predict_stream(
        Predictor(flower_model()), pictures, range(9), 1, batch_size=2, workers=2
    )
    assert len(next(iter(stream))) == 2
    stream.close()  # type: ignore[attr-defined]
    assert not list(stream)


def of_kind(kind: str, picture: Image.Image) -> tuple[bytes, Image.Image]:
    """Return an encoded form of a picture, and what Pillow makes of it in RGB and upright."""
    buffer = io.BytesIO()
    if kind == "exif":
        exif = Image.Exif()
        exif[0x0112] = 6
        picture.save(buffer, "PNG", exif=exif)
        expected = ImageOps.exif_transpose(Image.open(io.BytesIO(buffer.getvalue())))
        return buffer.getvalue(), expected.convert("RGB")
    if kind == "alpha":
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
        picture.save(buffer, "PNG")
        paper = Image.new("RGBA", picture.size, "white")
        return buffer.getvalue(), Image.alpha_composite(paper, picture).convert("RGB")
    if kind == "sixteen":
        values = np.asarray(picture.convert("L")).astype(np.uint16) * 257
        Image.fromarray(values).save(buffer, "PNG")
        return buffer.getvalue(), picture.convert("L").convert("RGB")
    if kind == "animated":
        others = [Image.new("RGB", picture.size, "blue")]
        picture.quantize(64).save(buffer, "GIF", save_all=True, append_images=others)
    elif kind == "many":
        picture.save(buffer, "TIFF", save_all=True, append_images=[Image.new("RGB", (9, 9))])
    elif kind == "mpo":
        others = [Image.new("RGB", picture.size, "blue")]
        picture.save(buffer, "MPO", save_all=True, append_images=others, quality=95)
    elif kind == "cmyk":
        picture.convert("CMYK").save(buffer, "JPEG", quality=95)
    else:
        forms = {"grey": "L", "palette": "P", "bilevel": "1"}
        picture.convert(forms[kind]).save(buffer, "PNG")
    return buffer.getvalue(), Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


@pytest.mark.parametrize(
    "kind",
    ["exif", "cmyk", "grey", "bilevel", "alpha", "palette", "sixteen", "animated", "many", "mpo"],
)
def test_every_kind_of_picture_gives_the_answer_of_its_pixels_by_pillow(
    kind: str, tmp_path: Path
) -> None:
    (path,) = save_pictures(tmp_path, 1)
    content, upright = of_kind(kind, Image.open(path).convert("RGB"))
    path.write_bytes(content)
    predictor = Predictor(flower_model())
    crop = Image.fromarray(np.asarray(upright))
    expected = predictor.probabilities(predictor.prepare(crop)[None])[0]
    (row,) = rows(predictor, [path])
    found = torch.zeros(3)
    for one in row.predictions:
        found[one.index] = one.probability
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(6000, 4000), (3000, 1), (1, 3000), (1, 1)])
def test_very_large_and_very_thin_pictures_are_read(size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "odd.png"
    Image.linear_gradient("L").resize(size).save(path, compress_level=1)
    (row,) = rows(Predictor(flower_model()), [path])
    assert row.error is None
    assert sum(one.probability for one in row.predictions) == pytest.approx(1, abs=1e-5)
