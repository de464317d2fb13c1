"""Pictures with what was predicted of them, as one page that needs nothing else."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from mlpmixer.files import write_text
from mlpmixer.report.figure_page import environment
from mlpmixer.report.thumbnails import thumbnail


@dataclass(frozen=True)
class PredictedPicture:
    """A picture, and the most probable of its classes."""

    name: str
    picture: Image.Image
    """RGB, upright."""
    answers: tuple[tuple[str, float], ...]
    """Class and probability, in [0, 1], the most probable first."""


def write_prediction_page(
    path: str | os.PathLike[str],
    title: str,
    facts: Sequence[str],
    shown: Sequence[PredictedPicture],
) -> None:
    """Write the page.

    Args:
        path: the file.
        title: its heading.
        facts: what stands below the heading.
        shown: the pictures, in their order.

    Raises:
        MixerError: the file cannot be written.
    """
    template = environment().get_template("predictions.html.j2")
    views = [(one, *thumbnail(one.picture)) for one in shown]
    write_text(path, template.render(title=title, facts=facts, views=views))
