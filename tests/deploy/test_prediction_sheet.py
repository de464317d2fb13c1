"""Contact sheets of pictures with what was predicted of them."""

import base64
import html
import io
import re
from pathlib import Path

import numpy as np
import pytest
from flower_model import save_pictures
from PIL import Image

from mlpmixer.data.unlabelled import find_pictures
from mlpmixer.deploy.prediction_sheet import MOST, spread, write_sheet
from mlpmixer.deploy.prediction_stream import Row
from mlpmixer.deploy.predictor import Prediction
from mlpmixer.deploy.result_files import NamedRow

HOSTILE = "<script>rose</script>"


def sheet(tmp_path: Path, suffix: str, count: int = 7, label: str = HOSTILE) -> Path:
    paths = save_pictures(tmp_path / "in", count)
    found = (Prediction(label, 1, 0.75), Prediction("tulip", 2, 0.25))
    rows = [NamedRow(str(path), Row(number, found)) for number, path in enumerate(paths)]
    out = tmp_path / f"sheet-{len(label)}{suffix}"
    pictures = find_pictures([str(tmp_path / "in")]).pictures
    write_sheet(out, "Predictions of runs/a&b", 1234, rows, pictures, "full")
    return out


def test_a_page_holds_every_picture_with_its_classes_and_loads_nothing(tmp_path: Path) -> None:
    text = sheet(tmp_path, ".html").read_text()
    shown = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert len(shown) == 7
    for number, encoded in enumerate(shown):
        picture = Image.open(io.BytesIO(base64.b64decode(encoded)))
        original = Image.open(tmp_path / "in" / f"{number:02}.png")
        assert (np.asarray(picture) == np.asarray(original)).all()
    assert text.count("75.0 %") == text.count("25.0 %") == 7
    assert html.escape(HOSTILE) in text
    assert "<script" not in text
    assert not re.findall(r'(?:src|href)="(?!data:)', text)
    assert "1,234 pictures" in text
    assert "7 of them shown" in text
    assert "Predictions of runs/a&amp;b" in text


def test_a_picture_of_the_sheet_shows_each_picture_and_the_names(tmp_path: Path) -> None:
    drawn = Image.open(sheet(tmp_path, ".png", label="rose"))
    other = Image.open(sheet(tmp_path, ".png", label="lily!"))
    assert drawn.size == other.size
    pixels = np.asarray(drawn.convert("RGB")).astype(int)
    colourful = pixels.max(2) - pixels.min(2) > 40
    rows = np.flatnonzero(np.diff(colourful.any(1).astype(int), prepend=0) == 1)
    assert len(rows) >= 2  # six in the first row and one in the second
    assert (pixels != np.asarray(other.convert("RGB")).astype(int)).any()


@pytest.mark.parametrize(("count", "shown"), [(1, 1), (MOST, MOST), (1_000_000, MOST)])
def test_of_many_pictures_some_are_shown_from_the_first_to_the_last(count: int, shown: int) -> None:
    positions = spread(count)
    assert len(positions) == shown
    assert {0, count - 1} <= positions
