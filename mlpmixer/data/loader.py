"""From a split to batches of pixels: kept decoded in memory, or streamed by worker processes.

Both kinds offer the same two orders: endless shuffled batches for training, which can start at
any step, and one pass in order for evaluation. Pixels stay uint8 until the augmentation, on the
device, turns them into the model's range.
"""

import os
from collections.abc import Callable, Iterator

from mlpmixer.data.batches import Images, Unreadable
from mlpmixer.data.dataset import Split
from mlpmixer.data.in_memory import InMemoryImages
from mlpmixer.data.options import DataOptions
from mlpmixer.data.picture import UnreadableImage, decode
from mlpmixer.data.streaming import StreamedImages

EVALUATION_MARGIN = 8 / 7
"""Large images are kept this much larger than the model's input: 256 pixels for 224."""
MEMORY_SHARE = 0.25
"""Share of the machine's memory that decoded images may take before they are streamed."""
_SIZES_LOOKED_AT = 64


def stored_size(split: Split, image_size: tuple[int, int]) -> tuple[int, int]:
    """Return the height and width in which to keep the images of `split` in memory.

    Images of one small size are kept as they are; others are squashed to the model's size plus
    the margin of the evaluation crop, their aspect ratios noted.
    """
    sizes = set(_first_sizes(split))
    margin = round(image_size[0] * EVALUATION_MARGIN), round(image_size[1] * EVALUATION_MARGIN)
    if len(sizes) == 1:
        height, width = sizes.pop()
        if height <= margin[0] and width <= margin[1]:
            return height, width
    return margin


def common_size(split: Split) -> tuple[int, int] | None:
    """Return the (height, width) that the images share, None where the first ones differ."""
    sizes = set(_first_sizes(split))
    return sizes.pop() if len(sizes) == 1 else None


def _first_sizes(split: Split) -> Iterator[tuple[int, int]]:
    step = max(1, len(split) // _SIZES_LOOKED_AT)
    for index in range(0, len(split), step):
        try:
            image = decode(split, index)
        except UnreadableImage:
            continue  # counted where all images are read
        yield image.height, image.width


def open_images(
    split: Split,
    image_size: tuple[int, int],
    options: DataOptions,
    crop_scale: tuple[float, float] | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Images:
    """Make the images of a split ready to be batched.

    Args:
        split: the labelled, encoded images.
        image_size: (height, width) of the model's input in pixels.
        options: whether to keep them in memory, and how many workers decode.
        crop_scale: shares of the area that random training crops keep, for images that are
            streamed and so cropped as they are decoded; None for the central crop.
        on_progress: called with the share decoded, in [0, 1], while they are read into memory.

    Raises:
        MixerError: too many images are unreadable.
    """
    size = stored_size(split, image_size)
    needed = len(split) * 3 * size[0] * size[1]
    fits = needed <= MEMORY_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    unreadable = Unreadable(len(split), options.max_unreadable)
    if options.cache == "memory" or (options.cache == "auto" and fits):
        return InMemoryImages(split, size, options.workers, unreadable, on_progress)
    return StreamedImages(split, image_size, crop_scale, options.workers, unreadable)
