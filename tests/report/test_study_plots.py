"""Figures of the scale and the comparison study."""

import pytest

from mlpmixer.report.figure_style import to_svg
from mlpmixer.report.front_plots import Candidate, accuracy_front
from mlpmixer.report.scale_plots import accuracy_by_images


def test_the_front_is_drawn_through_its_models_alone() -> None:
    candidates = [
        Candidate("mixer_nano", "mixer", 1000, 0.7, on_front=True),
        Candidate("vit_nano", "vit", 300, 0.6, on_front=False),
        Candidate("bit_nano", "bit", 500, 0.8, on_front=True),
    ]
    figure = accuracy_front(candidates, "images a second")
    line, *points = figure.axes[0].get_lines()
    assert list(line.get_xdata()) == [500, 1000]
    assert len({point.get_marker() for point in points}) == 3  # told apart in print
    drawn = to_svg(figure)
    assert all(one.name in drawn for one in candidates)
    assert "mathdefault" not in drawn  # numbers on the axis are plain text
    assert ">500<" in drawn


def test_points_of_one_size_are_averaged_over_the_seeds() -> None:
    points = [(100, 0.2), (100, 0.4), (1000, 0.5), (1000, 0.6)]
    figure = accuracy_by_images({"probe": {"a": points, "b": points}, "tuned": {"a": points}})
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["probe", "tuned"]
    line = figure.axes[0].get_lines()[0]
    assert list(line.get_xdata()) == [100, 1000]
    assert list(line.get_ydata()) == pytest.approx([0.3, 0.55])
