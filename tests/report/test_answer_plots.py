import io
import re

import matplotlib
import numpy as np
import pytest
from PIL import Image

from mlpmixer.measures.calibration import Calibration
from mlpmixer.measures.confusion import Confusion
from mlpmixer.report import answer_plots
from mlpmixer.report.curves import training_curves
from mlpmixer.report.figure_style import MUTED, save_png, to_svg
from mlpmixer.report.run_contents import Mistake


def texts(figure):
    return {text.get_text() for text in figure.findobj(matplotlib.text.Text)}


def image_of(figure):
    (axes,) = figure.axes
    return np.asarray(axes.images[0].get_array())


def test_curves_show_what_was_logged_and_mark_the_best():
    records = [
        {"step": step, "epoch": step / 10, "loss": 1 / step, "learning_rate": 0.1}
        for step in (1, 2)
    ]
    records.append({"step": 3, "epoch": 0.3, "loss": None, "validation_accuracy": 0.75})
    records.append({"step": 4, "epoch": 0.4, "validation_accuracy": 0.5})
    figure = training_curves(records)
    assert {"Loss", "Accuracy", "Learning rate", "epoch", "best 75.0 %"} <= texts(figure)
    loss = figure.axes[0].lines[0]
    np.testing.assert_allclose(loss.get_xydata(), [[0.1, 1.0], [0.2, 0.5]])


def test_curves_use_updates_where_a_record_has_no_epoch():
    figure = training_curves([{"step": 1, "epoch": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}])
    assert "updates" in texts(figure)
    assert "Accuracy" not in texts(figure)


def test_there_are_no_curves_without_numbers():
    assert training_curves([]) is None
    assert training_curves([{"step": 1, "loss": float("nan")}]) is None


def test_long_curves_are_thinned_by_averaging():
    records = [{"step": step, "loss": float(step % 2)} for step in range(10_000)]
    y = training_curves(records).axes[0].lines[0].get_ydata()
    assert len(y) <= 500
    np.testing.assert_allclose(y, 0.5)


def test_the_best_of_a_long_training_is_marked_as_it_was():
    records = [
        {"step": step, "validation_accuracy": 0.9 if step == 701 else 0.5} for step in range(1000)
    ]
    assert "best 90.0 %" in texts(training_curves(records))


def test_the_confusion_matrix_of_few_classes_holds_the_counts():
    confusion = np.array([[1234, 56], [0, 78]])
    shown = texts(answer_plots.confusion_matrix(Confusion.from_matrix(confusion), ["cat", "dog"]))
    assert {"1,234", "56", "78", "cat", "dog"} <= shown
    assert "0" not in shown  # an empty cell stays empty


def test_no_mistake_is_lost_in_the_confusion_matrix_of_many_classes():
    classes = 1000
    confusion = np.diag(np.full(classes, 50))
    confusion[123, 877] = 1
    figure = answer_plots.confusion_matrix(
        Confusion.from_matrix(confusion), [str(index) for index in range(classes)]
    )
    image = image_of(figure)
    assert image.shape == (200, 200, 4)
    opaque = np.argwhere(image[..., 3] > 0)
    off_diagonal = [tuple(cell) for cell in opaque if cell[0] != cell[1]]
    assert off_diagonal == [(123 // 5, 877 // 5)]
    assert len(opaque) == 200 + 1


def test_untested_classes_do_not_darken_the_diagonal_of_many():
    total = np.zeros(1000, dtype=int)
    total[::5] = 10
    names = [str(index) for index in range(1000)]
    figure = answer_plots.confusion_matrix(Confusion.from_matrix(np.diag(total)), names)
    np.testing.assert_array_equal(image_of(figure)[..., 3], np.eye(200))


@pytest.mark.parametrize(
    ("classes", "told"), [(40, False), (41, True), (200, True), (201, True), (1000, True)]
)
def test_the_caption_tells_what_numbers_and_cells_of_many_classes_stand_for(classes, told):
    caption = answer_plots.confusion_caption(classes)
    assert ("numbered from 0" in caption) is told
    assert ("A cell stands for" in caption) is (classes > 200)


def test_classes_are_sorted_and_only_the_ends_of_many_are_drawn():
    total = np.full(100, 100)
    correct = np.arange(100)[::-1].copy()
    axes = answer_plots.class_accuracy(correct, total, [f"class {k}" for k in range(100)]).axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == [f"class {k}" for k in [*range(99, 79, -1), *range(19, -1, -1)]]
    assert "60 classes between" in {text.get_text() for text in axes.texts}


def test_classes_without_images_are_not_drawn():
    axes = answer_plots.class_accuracy(np.array([1, 0]), np.array([2, 0]), ["seen", "unseen"]).axes[
        0
    ]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["seen"]


def test_the_reliability_diagram_shows_the_error_and_skips_empty_bins():
    calibration = Calibration(np.array([0.0, 30]), np.array([0.0, 0.9]), np.array([0.0, 0.8]))
    figure = answer_plots.reliability_diagram(calibration)
    assert "Expected calibration error 10.0 %" in texts(figure)
    assert len(figure.axes[1].patches) == 1


def test_mistakes_are_labelled_with_truth_prediction_and_probability():
    mistakes = [Mistake(Image.new("RGB", (8, 8)), "cat", "dog", 0.987)] * 5
    assert "cat\ntaken for dog 99 %" in texts(answer_plots.mistake_grid(mistakes))


def test_photographs_among_the_mistakes_are_drawn_small():
    photograph = Image.new("RGB", (3000, 2000))
    figure = answer_plots.mistake_grid([Mistake(photograph, "cat", "dog", 0.9)])
    drawn = np.asarray(figure.axes[0].images[0].get_array())
    assert max(drawn.shape) <= 400
    assert photograph.size == (3000, 2000)


def test_drawing_leaves_the_users_matplotlib_alone(tmp_path):
    before = dict(matplotlib.rcParams)
    figure = answer_plots.confusion_matrix(Confusion.from_matrix(np.eye(2, dtype=int)), ["a", "b"])
    save_png(figure, tmp_path / "figure.png")
    to_svg(figure)
    assert dict(matplotlib.rcParams) == before


def test_svg_is_alone_reproducible_and_follows_a_dark_scheme():
    svg = to_svg(
        answer_plots.confusion_matrix(Confusion.from_matrix(np.eye(2, dtype=int)), ["a", "b"])
    )
    head, body = svg.split("</style>", 1)
    assert svg == to_svg(
        answer_plots.confusion_matrix(Confusion.from_matrix(np.eye(2, dtype=int)), ["a", "b"])
    )
    assert "prefers-color-scheme:dark" in head
    assert f"--c1:{MUTED}" in head
    assert "fill: var(--c1)" in body
    assert MUTED not in body
    assert "<!DOCTYPE" not in svg
    assert not re.findall(r'(?:href|src)="(?!#|data:)', svg)


def test_any_class_name_can_be_drawn(tmp_path):
    names = ["$x$ <b>&", "日本語 🙂", "a\nb", "_hidden", "long " * 50, ""]
    figure = answer_plots.confusion_matrix(Confusion.from_matrix(np.ones((6, 6), dtype=int)), names)
    save_png(figure, tmp_path / "figure.png")
    assert "$x$ &lt;b&gt;&amp;" in to_svg(figure)
    assert Image.open(io.BytesIO((tmp_path / "figure.png").read_bytes())).size[0] > 1000
