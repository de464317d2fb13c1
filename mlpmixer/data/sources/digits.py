"""Handwritten digits that come with scikit-learn: data for a first try, without any download."""

from mlpmixer.data.dataset import Dataset
from mlpmixer.data.sources.declaration import Source

SOURCE = Source(
    names=("digits",),
    help="scikit-learn's handwritten digits, embedded; a fixed fifth is the test split",
    open=lambda spec, files: open_digits(),
)

_BRIGHTEST = 16  # the source counts inked pixels in 4x4 cells


def open_digits() -> Dataset:
    """Return 1797 digits of 8x8 pixels, white on black, scaled from 0..16 to 0..255, as RGB.

    The source has no test split. One fifth, 360 images, stratified by class and always the same,
    is the test split here; it shares no image with the 1437 for training.
    Source: https://archive.ics.uci.edu/dataset/80, through `sklearn.datasets.load_digits`.
    """
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    from mlpmixer.data.splits import ArraySplit

    digits = load_digits()
    grey = np.rint(digits.images * (255 / _BRIGHTEST)).astype(np.uint8)  # (N, 8, 8)
    images = np.repeat(grey[..., None], 3, axis=-1)  # (N, 8, 8, 3)
    labels = digits.target
    chosen = train_test_split(
        np.arange(len(labels)), test_size=0.2, random_state=0, stratify=labels
    )
    return Dataset(
        spec="digits",
        class_names=tuple(str(name) for name in digits.target_names),
        splits={
            split: ArraySplit(images[np.sort(indices)], labels[np.sort(indices)], f"digits {split}")
            for split, indices in zip(("train", "test"), chosen, strict=True)
        },
    )
