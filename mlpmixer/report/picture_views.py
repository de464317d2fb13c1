"""What a prediction rests on, as figures of a page."""

from pathlib import Path
from statistics import correlation

import numpy as np

from mlpmixer.formatting import percent, shortened
from mlpmixer.report.attribution_plots import attribution
from mlpmixer.report.figure_page import FigureView, csv_file, figure_view
from mlpmixer.report.inspection_contents import Attribution

_NAME = 40  # characters of a class's name
_FILE = 64  # characters of a file's name


def picture_view(shown: Attribution, index: int, folder: Path) -> FigureView:
    """Draw the maps of picture number `index`, and write them and their data below `folder`."""
    name = f"picture_{index:02}"
    rows, columns = np.indices(shown.occlusion.shape)
    data = {
        "row": rows.ravel() + 1,
        "column": columns.ravel() + 1,
        "occlusion_log_odds": shown.occlusion.ravel(),
        "occluded_probability": shown.occluded_probability.ravel(),
        "gradient_input_log_odds": shown.gradient_input.ravel(),
        "sensitivity": shown.sensitivity.ravel(),
    }
    sentences = [_largest_loss(shown), _agreement(shown), shortened(shown.name, _FILE)]
    return figure_view(
        attribution(shown),
        folder,
        name=name,
        title=_title(shown),
        alt=f"A picture taken for {shown.predicted}, and maps of the patches that this rests on.",
        caption=" ".join(filter(None, sentences)),
        data=csv_file(name, data),
        wide=True,
    )


def _title(shown: Attribution) -> str:
    said = f"Predicted: {shortened(shown.predicted, _NAME)}, {percent(shown.probability)}"
    if shown.true is None:
        return said
    if shown.true == shown.predicted:
        return f"{said} (right)"
    return f"{said} (wrong: {shortened(shown.true, _NAME)})"


def _largest_loss(shown: Attribution) -> str:
    if shown.occlusion.max() <= 0:
        return "No single patch speaks for it."
    row, column = np.unravel_index(shown.occlusion.argmax(), shown.occlusion.shape)
    left = percent(float(shown.occluded_probability[row, column]))
    return (
        f"With the patch in row {row + 1}, column {column + 1} painted over, the probability "
        f"is {left}."
    )


def _agreement(shown: Attribution) -> str:
    maps = [values.ravel().tolist() for values in (shown.occlusion, shown.gradient_input)]
    if any(min(values) == max(values) for values in maps):
        return ""
    return f"Occlusion and gradient × input correlate by {correlation(*maps):.2f}."
