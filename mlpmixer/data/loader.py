"""From a split to batches of pixels: kept decoded in memory, or streamed by worker processes.

Both kinds offer the same two orders: endless shuffled batches for training, which can start at
any step, and one pass in order for evaluation. They deliver the same pixels, to the bit on a CPU;
where images are kept decides on speed and memory alone.
"""

from collections.abc import Callable

import torch

from mlpmixer.data.batches import Images, UnreadableImages
from mlpmixer.data.dataset import Split
from mlpmixer.data.image_sizes import sample_sizes
from mlpmixer.data.in_memory import InMemoryImages
from mlpmixer.data.options import AugmentOptions, DataOptions
from mlpmixer.data.picture import least_side
from mlpmixer.data.random_crops import RandomCrop
from mlpmixer.data.streaming import StreamedImages
from mlpmixer.memory import free_memory
from mlpmixer.models.preprocessing import Preprocessing

MEMORY_SHARE = 0.25
"""Share of the free memory that the images of a split may take before they are streamed."""
UNCHANGED = AugmentOptions(crop="none", flip=0.0)
"""No random crops and flips."""


def open_images(
    split: Split,
    preprocessing: Preprocessing,
    options: DataOptions,
    augment: AugmentOptions = UNCHANGED,
    on_progress: Callable[[float], None] | None = None,
) -> Images:
    """Make the images of a split ready to be batched.

    Args:
        split: the labelled, encoded images.
        preprocessing: how a picture becomes the model's input.
        options: whether to keep them in memory, and how many workers decode.
        augment: how training images are cropped and flipped, settled by `settle_crop`; by default
            they are evaluation crops.
        on_progress: called with the share decoded, in [0, 1], while they are read into memory.

    Raises:
        MixerError: too many images are unreadable.
    """
    crop = RandomCrop(augment, preprocessing.image_size)
    unreadable = UnreadableImages(len(split), options.max_unreadable)
    if options.cache == "memory" or (options.cache == "auto" and fits(split, preprocessing, crop)):
        return InMemoryImages(split, preprocessing, crop, options.workers, unreadable, on_progress)
    return StreamedImages(split, preprocessing, crop, options.workers, unreadable)


def fits(split: Split, preprocessing: Preprocessing, crop: RandomCrop) -> bool:
    """Tell whether the images take no more than MEMORY_SHARE of what is free for this process."""
    free = free_memory(torch.device("cpu"))
    return bytes_in_memory(split, preprocessing, crop) <= MEMORY_SHARE * free


def bytes_in_memory(split: Split, preprocessing: Preprocessing, crop: RandomCrop) -> int:
    """Return the bytes that the images take in memory, whole pictures estimated from a sample."""
    sizes = [preprocessing.image_size]
    if crop.of_whole_pictures:
        sizes = sample_sizes(split, at_least=least_side(preprocessing)) or sizes
    mean = sum(height * width for height, width in sizes) / len(sizes)
    return round(3 * mean * len(split))
