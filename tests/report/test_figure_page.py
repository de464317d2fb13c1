"""What the pages share: figures that carry their data, in one file that needs nothing else."""

import base64
import csv
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpmixer.report.figure_page import (
    FigurePage,
    FigureView,
    Section,
    Table,
    csv_file,
    figure_view,
    npz_file,
    write_page,
)
from mlpmixer.report.figure_style import new_figure, styled


class Images(HTMLParser):
    """The images of a page that have tiles."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img" and "data-tiles" in dict(attrs):
            self.found.append(dict(attrs))


def content(uri: str) -> bytes:
    return base64.b64decode(uri.split(",", 1)[1])


def drawn(folder: Path) -> FigureView:
    with styled():
        figure = new_figure(2.0)
        figure.subplots().plot([0, 1], [2, 3])
    data = csv_file("line", {"x": [0, 1], "y": np.array([2.0, 1 / 3])})
    return figure_view(
        figure, folder, name="line", title="A line", alt="It rises.", caption="So.", data=data
    )


def test_a_figure_is_left_as_png_svg_and_data_and_shown_with_them(tmp_path: Path) -> None:
    view = drawn(tmp_path)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")}
    assert files == {"figures/line.png", "figures/line.svg", "data/line.csv"}
    assert content(view.uri) == (tmp_path / "figures" / "line.svg").read_bytes()
    offered = dict(view.downloads)
    assert list(offered) == ["PNG", "CSV"]
    Image.open(io.BytesIO(content(offered["PNG"].uri))).verify()
    assert content(offered["CSV"].uri) == (tmp_path / "data" / "line.csv").read_bytes()


def test_data_comes_back_as_it_was_given() -> None:
    text = csv_file("t", {"name": ["a", 'b,"'], "value": [1, 1 / 3]}).content.decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert rows == [{"name": "a", "value": "1"}, {"name": 'b,"', "value": "0.333333"}]
    array = np.arange(6).reshape(2, 3)
    with np.load(io.BytesIO(npz_file("t", {"array": array}).content)) as stored:
        np.testing.assert_array_equal(stored["array"], array)


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        csv_file("t", {"x": [1, 2], "y": [1]})


def test_a_page_loads_nothing_and_runs_its_own_script_alone(tmp_path: Path) -> None:
    section = Section("lines", "Lines", "Some.", (drawn(tmp_path),), "Others are left out.")
    page = FigurePage("<Title>", ("model", "data"), (section,), ("It rises.",), {"Lines": "1"})
    write_page(tmp_path / "page.html", page)
    text = (tmp_path / "page.html").read_text()
    for link in re.findall(r'(?:src|href)="([^"]*)"', text.split("<script>")[0]):
        assert link.startswith(("data:", "#"))
    assert "@import" not in text
    scripts = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    (allowed,) = re.findall(r"script-src 'sha256-([^']*)'", text)
    digests = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts]
    assert digests == [allowed]
    for part in ("&lt;Title&gt;", "Others are left out.", "It rises.", 'href="#lines"'):
        assert part in text
    assert "<Title>" not in text


def test_what_is_known_of_tiles_reaches_the_viewer_through_the_page(tmp_path: Path) -> None:
    tiles = {"columns": 2, "labels": {'cosine to "it" & <them>': [0.5, -0.25]}}
    view = FigureView("m", "data:image/png;base64,", "alt", "caption", size=(8, 4), tiles=tiles)
    write_page(tmp_path / "page.html", FigurePage("t", (), (Section("s", "S", figures=(view,)),)))
    parser = Images()
    parser.feed((tmp_path / "page.html").read_text())
    (image,) = parser.found
    assert json.loads(image["data-tiles"] or "") == tiles
    assert image["style"] == "width: 8px"


def test_a_table_names_its_rows_and_stresses_the_best(tmp_path: Path) -> None:
    table = Table(("model", "images/s"), (("a<b", "1,000"), ("c", "20")), best=frozenset({(0, 1)}))
    write_page(tmp_path / "page.html", FigurePage("t", (), (Section("s", "S", table=table),)))
    text = (tmp_path / "page.html").read_text()
    assert '<th scope="col" class="right">images/s</th>' in text
    assert '<th scope="row">a&lt;b</th><td class="right"><strong>1,000</strong></td>' in text
    assert '<th scope="row">c</th><td class="right">20</td>' in text
