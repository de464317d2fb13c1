"""In which sizes the images of a split come, from the headers of some of them."""

from mlpmixer.data.dataset import Split
from mlpmixer.data.order import sample_in_blocks
from mlpmixer.data.picture import UnreadableImage, read_size

_LOOKED_AT = 64


def common_size(split: Split, *, at_least: int | None = None) -> tuple[int, int] | None:
    """Return the (height, width) that the images share, None where those looked at differ.

    With `at_least`, after the reduction of `picture.decode`.
    """
    sizes = set(sample_sizes(split, at_least=at_least))
    return sizes.pop() if len(sizes) == 1 else None


def sample_sizes(split: Split, *, at_least: int | None = None) -> list[tuple[int, int]]:
    """Return the (height, width) of some readable images spread over the split."""
    found = []
    chosen = sample_in_blocks(split, _LOOKED_AT)
    if chosen is None:
        chosen = list(range(0, len(split), max(1, len(split) // _LOOKED_AT)))
    for index in chosen:
        try:
            width, height = read_size(split, index, at_least=at_least)
        except UnreadableImage:
            continue  # counted where all images are read
        found.append((height, width))
    return found
