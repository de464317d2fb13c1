"""The real pictures that an export is calibrated and judged on."""

from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mlpmixer.data.dataset import Split
from mlpmixer.data.picture import UnreadableImage, evaluation_crop, from_picture, pixels_for
from mlpmixer.data.sources import open_source
from mlpmixer.errors import UsageError
from mlpmixer.models.preprocessing import Preprocessing

CUTS = 4
"""Parts of each side of a photograph: 16 pictures of each."""


def photographs(preprocessing: Preprocessing) -> Tensor:
    """Return parts of scikit-learn's two photographs as a model sees them, uint8 (32, 3, H, W)."""
    from sklearn.datasets import load_sample_images

    crops = []
    for pixels in load_sample_images().images:
        height, width = pixels.shape[0] // CUTS, pixels.shape[1] // CUTS
        for row in range(CUTS):
            for column in range(CUTS):
                part = pixels[row * height :, column * width :][:height, :width]
                picture = from_picture(Image.fromarray(part), "a photograph")
                crops.append(evaluation_crop(picture, preprocessing))
    return torch.stack(crops)


def images_of(
    source: str, preprocessing: Preprocessing, calibration: int, check: int
) -> tuple[Tensor, Tensor, list[UnreadableImage]]:
    """Return images to calibrate on, others to check with, and those that cannot be read.

    They are spread evenly: for calibration over the training images, for the check over those of
    the test, or of the training where there is nothing else.

    Args:
        source: as for `--data`.
        preprocessing: how a picture becomes the model's input.
        calibration: how many to calibrate on, at most; 0 leaves them out.
        check: how many to check with, at most.

    Raises:
        UsageError: there is no such source, or no image of it can be read.
    """
    splits = open_source(source).splits
    first, last = ("train", "validation", "test"), ("test", "validation", "train")
    to_learn = splits[next(name for name in first if name in splits)]
    to_check = splits[next(name for name in last if name in splits)]
    unreadable: list[UnreadableImage] = []
    # Not the same images twice where one split serves both: the second half of a step is taken.
    learned = _spread(len(to_learn), calibration, 0.0) if calibration else []
    checked = _spread(len(to_check), check, 0.5)
    pixels = [
        _pixels(split, indices, preprocessing, unreadable)
        for split, indices in ((to_learn, learned), (to_check, checked))
    ]
    if not len(pixels[1]) or (calibration and not len(pixels[0])):
        raise UsageError(f"no image of {source} can be read: `mixer data {source} --verify`.")
    return pixels[0], pixels[1], unreadable


def _spread(total: int, count: int, shift: float) -> list[int]:
    count = min(total, count)
    places = (np.arange(count) + shift) * (total / count)
    found: list[int] = np.minimum(places.astype(int), total - 1).tolist()
    return found


def _pixels(
    split: Split,
    indices: Iterable[int],
    preprocessing: Preprocessing,
    unreadable: list[UnreadableImage],
) -> Tensor:
    """Return evaluation crops, uint8 (N, 3, H, W), of the images that can be read."""
    crops = []
    for index in indices:
        try:
            crops.append(pixels_for(split, index, preprocessing))
        except UnreadableImage as error:
            unreadable.append(error)
    return torch.stack(crops) if crops else torch.empty(0, 3, *preprocessing.image_size)
