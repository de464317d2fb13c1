"""Figures of the scale and the comparison study, and of robustness."""

import pytest
from matplotlib.text import Annotation

from mlpmixer.report.corruption_plots import accuracy_by_severity
from mlpmixer.report.figure_style import to_svg
from mlpmixer.report.pareto_plots import FrontPoint, accuracy_front
from mlpmixer.report.scale_plots import accuracy_by_images


def test_the_front_is_drawn_through_its_models_alone() -> None:
    candidates = [
        FrontPoint("mixer_nano", "mixer", 1000, 0.7, on_front=True),
        FrontPoint("vit_nano", "vit", 300, 0.6, on_front=False),
        FrontPoint("bit_nano", "bit", 500, 0.8, on_front=True),
    ]
    figure = accuracy_front(candidates, "images a second")
    line, *points = figure.axes[0].get_lines()
    assert list(line.get_xdata()) == [500, 1000]
    assert len({point.get_marker() for point in points}) == 3  # told apart in print
    drawn = to_svg(figure)
    assert all(one.name in drawn for one in candidates)
    assert "mathdefault" not in drawn  # numbers on the axis are plain text
    assert ">500<" in drawn


def test_names_of_close_points_cover_neither_each_other_nor_a_point() -> None:
    candidates = [
        FrontPoint(f"model_number_{number}", "mixer", cost, accuracy, on_front=False)
        for number, (cost, accuracy) in enumerate(
            [(1.0, 0.50), (1.01, 0.501), (1.0, 0.53), (1.3, 0.5), (1.9, 0.7), (1.9, 0.72)]
        )
    ]
    axes = accuracy_front(candidates, "core-hours").axes[0]
    assert axes.get_xscale() == "linear"  # a factor of two would have hardly a number on it
    boxes = [one.get_window_extent() for one in axes.texts if isinstance(one, Annotation)]
    assert len(boxes) == len(candidates)
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])
        for one in candidates:
            assert not box.contains(*axes.transData.transform((one.x, one.accuracy)))


def test_the_way_to_a_model_ends_at_its_point() -> None:
    way = [(0.1, 0.4), (0.5, 0.6), (1.0, 0.69)]
    only = FrontPoint("mixer_nano", "mixer", 1.0, 0.7, on_front=True, trail=way)
    axes = accuracy_front([only], "core-hours").axes[0]
    drawn = [list(zip(*line.get_data(), strict=True)) for line in axes.get_lines()]
    assert way in drawn
    assert axes.get_xscale() == "log"


def test_points_of_one_size_are_averaged_over_the_seeds() -> None:
    points = [(100, 0.2), (100, 0.4), (1000, 0.5), (1000, 0.6)]
    figure = accuracy_by_images({"probe": {"a": points, "b": points}, "tuned": {"a": points}})
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["probe", "tuned"]
    line = figure.axes[0].get_lines()[0]
    assert list(line.get_xdata()) == [100, 1000]
    assert list(line.get_ydata()) == pytest.approx([0.3, 0.55])
    assert figure.axes[0].collections  # bars, from the lowest to the highest
    single = accuracy_by_images({"probe": {"a": [(100, 0.2), (1000, 0.5)]}})
    assert not single.axes[0].collections


def test_close_accuracies_have_labels_of_their_own() -> None:
    front = accuracy_front(
        [FrontPoint(f"model_{n}", "mixer", 10.0 + n, 0.801 + 0.0025 * n, True) for n in range(5)],
        "parameters (M)",
    )
    scale = accuracy_by_images({"probe": {"a": [(100, 0.801), (1000, 0.8085)]}})
    for figure in (front, scale):
        figure.draw_without_rendering()
        labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        assert len(labels) == len(set(labels)) > 2


def test_an_empty_panel_is_hidden_and_the_one_above_it_has_its_axis() -> None:
    lines = {"noise": [0.6, 0.5, 0.4, 0.3, 0.2]}
    figure = accuracy_by_severity({"Noise": lines, "Blur": lines, "Weather": lines}, 0.8)
    figure.draw_without_rendering()
    assert [axes.get_visible() for axes in figure.axes] == [True, True, True, False]
    labelled = [axes for axes in figure.axes if axes.get_xlabel() and axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in labelled] == ["Blur", "Weather"]
    assert all(axes.xaxis.get_tick_params()["labelbottom"] for axes in labelled)
