"""Reading a split while somebody watches: a line of progress, and a word on what was skipped."""

from mlpmixer.data.batches import Images
from mlpmixer.data.dataset import Split
from mlpmixer.data.loader import UNCHANGED, open_images
from mlpmixer.data.options import AugmentOptions, DataOptions
from mlpmixer.models.preprocessing import Preprocessing
from mlpmixer.run.console import Console


def read_split(
    split: Split,
    name: str,
    preprocessing: Preprocessing,
    options: DataOptions,
    console: Console,
    augment: AugmentOptions = UNCHANGED,
) -> Images:
    """Make the images of a split ready to be batched, with a line of progress; see `open_images`.

    Args:
        split: the labelled, encoded images.
        name: what the console calls them: "train".
        preprocessing: how a picture becomes the model's input.
        options: whether to keep them in memory, and how many workers decode.
        console: shows the progress.
        augment: how training images are cropped and flipped; by default they are not.

    Raises:
        MixerError: too many images are unreadable.
    """
    with console.progress(f"reading {name} images") as progress:
        return open_images(split, preprocessing, options, augment, progress.update)


def tell_skipped(images: Images, console: Console) -> None:
    """Warn of each image that could not be read so far; of streamed ones, in what was streamed."""
    for name, reason in images.unreadable.reasons.items():
        console.warning(f"skipped {name}: {reason}")
