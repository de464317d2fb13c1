"""JPEGs without Pillow's decoder, where that gives the same pixels in less time.

All rest on libjpeg-turbo. Pillow copies every row twice on the way, into its own form and out of
it again; here the decoder writes where the model's pixels are read from, and where a part of a
picture is enough, decodes that part.
"""

import ctypes
import threading
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from mlpmixer.native_library import Library, load

try:
    import simplejpeg
except ImportError:  # there is no wheel for this system: Pillow decodes
    simplejpeg = None

in_use: bool = True
"""Whether these are used at all; who compares them with Pillow turns it off."""
_MODES = ("RGB", "L")
"""Others (CMYK) are turned into RGB by Pillow in its own way."""
_END = b"\xff\xd9"
"""The marker at the end of a JPEG. A file without it is cut off, which a part need not show."""
_MORE_COLUMNS = 70
"""A part is decoded with its border and from where a block of colours, of 32 columns, begins."""
_SIGNATURES = {
    "mlpmixer_jpeg_digest": ([], ctypes.c_char_p),
    "mlpmixer_jpeg_size": ([ctypes.c_char_p, ctypes.c_ulong, ctypes.c_void_p], ctypes.c_int),
    "mlpmixer_jpeg_region": (
        [
            *(ctypes.c_char_p, ctypes.c_ulong),  # the file
            *(ctypes.c_int, ctypes.c_int, ctypes.c_void_p),  # size and box
            *(ctypes.c_void_p, ctypes.c_long, ctypes.c_void_p),  # room, and what was found
        ],
        ctypes.c_int,
    ),
}
_room = threading.local()


@cache
def region_decoder() -> Library:
    """Load the decoder of parts once; the reason why there is none speaks of its header too."""
    loaded = load(
        "mlpmixer.data._jpeg",
        "the decoder of parts of JPEGs is",
        _SIGNATURES,
        digest="mlpmixer_jpeg_digest",
        sources=[Path(__file__).parent / "native" / "jpeg.cpp"],
    )
    if loaded.functions is None:
        header = "libjpeg-turbo's header (`apt install libjpeg-dev`) is needed for it"
        return Library(None, f"{loaded.reason}; {header}")
    return loaded


def in_plain_colours(image: Image.Image) -> bool:
    """Return whether an opened image is a JPEG, alone or the first of several, in grey or RGB."""
    return image.format in ("JPEG", "MPO") and image.mode in _MODES


def decode_jpeg(image: Image.Image, content: bytes) -> npt.NDArray[np.uint8] | None:
    """Return the pixels (h, w, 3) of a JPEG that Pillow has opened, as it would load them.

    In the size that `image.draft` has chosen; grey as RGB; not turned by EXIF. `content` is the
    whole file. None where Pillow has to decode: for other formats and colours, and for whatever is
    not quite right with the file, so that its tolerance and its messages stay the only ones.
    """
    if not in_use or simplejpeg is None or not in_plain_colours(image):
        return None
    width, height = image.size
    try:
        pixels: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(
            content, "RGB", min_height=height, min_width=width
        )
    except ValueError:
        return None
    return pixels if pixels.shape == (height, width, 3) else None


def plain_size(content: bytes, at_least: int) -> tuple[int, int] | None:
    """Return the width and height in which a JPEG is decoded, without asking Pillow.

    As `Image.draft` would choose it for `at_least` pixels a side. None where Pillow has to look:
    what is not grey or RGB, has EXIF or XMP, where an orientation could stand, or is so large that
    it is to be remarked; and where no decoder of parts was built.
    """
    functions = region_decoder().functions
    found = (ctypes.c_int * 2)()
    if not in_use or functions is None:
        return None
    if functions.mlpmixer_jpeg_size(content, len(content), found):
        return None
    width, height = found
    if not 0 < width * height <= (Image.MAX_IMAGE_PIXELS or 0):
        return None
    scale = min(width, height) // at_least
    scale = next((one for one in (8, 4, 2) if one <= scale), 1)
    return -(-width // scale), -(-height // scale)


def decode_region(
    size: tuple[int, int], content: bytes, box: tuple[int, int, int, int]
) -> npt.NDArray[np.uint8] | None:
    """Return the part `box` (left, top, right, bottom) of a JPEG that is decoded to a size.

    Pixels (bottom - top, right - left, 3) as `decode_jpeg` returns them, until this thread decodes
    the next part: it takes their place, because memory that was used before is faster to write to
    by a fifth of the whole time. None where the file is cut off or not quite right in what was
    read of it, in a size that the decoder cannot deliver, and where it was not built. `size` is the
    width and height that `plain_size` or Pillow found, of a picture in grey or RGB.
    """
    functions = region_decoder().functions
    if functions is None or not in_use or not content.endswith(_END):
        return None
    left, top, right, bottom = box
    room = _room_for(3 * (bottom - top) * (right - left + _MORE_COLUMNS))
    found = (ctypes.c_int * 2)()
    failed = functions.mlpmixer_jpeg_region(
        content,
        len(content),
        *size,
        (ctypes.c_int * 4)(*box),
        room.ctypes.data,
        room.nbytes,
        found,
    )
    if failed:
        return None
    column, columns = found
    rows = room[: 3 * (bottom - top) * columns].reshape(bottom - top, columns, 3)
    return rows[:, left - column : right - column]


def _room_for(count: int) -> npt.NDArray[np.uint8]:
    room: npt.NDArray[np.uint8] | None = getattr(_room, "bytes", None)
    if room is None or room.nbytes < count:
        room = _room.bytes = np.empty(count, dtype=np.uint8)
    return room
