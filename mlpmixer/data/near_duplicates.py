"""Images that are almost the same: saved again, resized, a little brighter or cut otherwise.

Each image is shrunk to 9x8 pixels. Whether its neighbours in a row grow brighter makes 64 bits,
which stay much the same when a picture is saved again (the difference hash,
https://www.hackerfactor.com/blog/index.php?/archives/529-Kind-of-Like-That.html). Of images whose
bits are alike, the small pictures themselves are then compared.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mlpmixer.data.dataset import Split
from mlpmixer.data.duplicates import Duplicates, grouped
from mlpmixer.data.picture import UnreadableImage, decode

_CHUNK = 64  # images a thread decodes at a time
_SIZE = (9, 8)  # width and height of the small pictures
_BITS = 7
"""Bits of 64 that may differ. On CIFAR-10, about 3 of 100 pairs found are of different scenes."""
_DIFFERENCE = 16
"""Grey levels of 255 by which the small pictures may differ, on average."""
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def find_near_duplicates(
    splits: Mapping[str, Split],
    *,
    threads: int = 8,
    progress: Callable[[float], None] | None = None,
) -> Duplicates:
    """Return which images of some splits are the same or almost the same; all are decoded.

    Images that cannot be read, and those of one colour, are left out. `progress` is called in this
    thread with the share that is decoded.
    """
    total = sum(map(len, splits.values()))
    parts: list[npt.NDArray[np.uint8]] = []
    done = 0
    with ThreadPoolExecutor(threads) as pool:
        for split in splits.values():
            starts = range(0, len(split), _CHUNK)
            for chunk in pool.map(lambda start, split=split: _shrunk(split, start), starts):
                parts.append(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done / total)
    pictures = np.concatenate(parts)  # (N, 8, 9, 3)
    spread = np.ptp(pictures, axis=(1, 2)).max(axis=1)  # (N,)
    usable = np.flatnonzero(spread > _DIFFERENCE)
    pairs = usable[alike(pictures[usable])]  # (pairs, 2)
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(total, total))
    _, groups = connected_components(links, directed=False)
    places = [np.arange(len(split)) for split in splits.values()]
    return grouped(splits, places, groups + 1)


def alike(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return the pairs (P, 2) of indices of small pictures (N, 8, 9, 3) that are almost the same.

    Bits that differ in 7 places agree in at least one of 8 bytes: only pictures with an equal byte
    and about the same brightness are compared.
    """
    grey = pictures @ _LUMA  # (N, 8, 9)
    rising = grey[:, :, 1:] > grey[:, :, :-1]  # (N, 8, 8)
    bits = np.packbits(rising.reshape(len(grey), 64), axis=1)  # (N, 8) bytes
    brightness = pictures.mean(axis=(1, 2, 3))
    found = [np.zeros((0, 2), dtype=np.int64)]
    for byte in bits.T:
        order = np.lexsort((brightness, byte))
        for step in range(1, len(order)):
            one, other = order[:-step], order[step:]
            near = (byte[one] == byte[other]) & (brightness[other] - brightness[one] <= _DIFFERENCE)
            if not near.any():
                break
            one, other = one[near], other[near]
            near = np.bitwise_count(bits[one] ^ bits[other]).sum(axis=1) <= _BITS
            one, other = one[near], other[near]
            difference = np.abs(pictures[one].astype(np.int16) - pictures[other])
            near = difference.mean(axis=(1, 2, 3)) <= _DIFFERENCE
            found.append(np.stack([one[near], other[near]], axis=1))
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def _shrunk(split: Split, start: int) -> npt.NDArray[np.uint8]:
    """Return small pictures (n, 8, 9, 3) of some images, black where one cannot be read."""
    indices = range(start, min(start + _CHUNK, len(split)))
    small = np.zeros((len(indices), *_SIZE[::-1], 3), dtype=np.uint8)
    for row, index in enumerate(indices):
        try:
            picture = decode(split, index, at_least=4 * max(_SIZE))
        except UnreadableImage:
            continue
        small[row] = np.asarray(picture.resize(_SIZE, Image.Resampling.BOX))
    return small
