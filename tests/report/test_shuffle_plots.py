"""Figures of the permutation study."""

import numpy as np

from mlpmixer.report.shuffle_plots import permutation_curves, shuffled_pictures


def test_each_model_has_a_panel_with_a_line_for_each_input() -> None:
    runs = [[(10, 0.2), (20, 0.4)], [(10, 0.4), (20, 0.6)]]
    figure = permutation_curves(
        {model: dict.fromkeys(("untouched", "patches", "pixels"), runs) for model in ("a", "b")}
    )
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["a", "b"]
    lines = figure.axes[0].get_lines()
    assert len({line.get_linestyle() for line in lines}) == 3  # told apart in print
    assert np.allclose(lines[0].get_ydata(), [0.3, 0.5])  # the mean of the seeds
    assert len(figure.axes[0].collections) == 3  # their spread


def test_pictures_stand_in_one_row_for_each_input() -> None:
    pictures = np.arange(4 * 8 * 8 * 3, dtype=np.uint8).reshape(4, 8, 8, 3)
    figure = shuffled_pictures({"untouched": pictures, "pixels": pictures[:, ::-1]})
    drawn = [axes.get_images()[0].get_array() for axes in figure.axes]
    assert [one.shape for one in drawn if one is not None] == [(8, 35, 4)] * 2
    assert np.array_equal(np.asarray(drawn[0])[:, 9:17, :3], pictures[1])
