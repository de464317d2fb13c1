"""JPEGs without Pillow's decoder, where that gives the same pixels in less time.

Both rest on libjpeg-turbo. Pillow copies every row twice on the way, into its own form and out of
it again; here the decoder writes where the model's pixels are read from.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image

try:
    import simplejpeg
except ImportError:  # there is no wheel for this system: Pillow decodes
    simplejpeg = None

in_use: bool = simplejpeg is not None
"""Whether it is asked at all; who compares the two decoders turns it off."""
_MODES = ("RGB", "L")
"""Others (CMYK) are turned into RGB by Pillow in its own way."""


def decode_jpeg(image: Image.Image, content: bytes) -> npt.NDArray[np.uint8] | None:
    """Return the pixels (h, w, 3) of a JPEG that Pillow has opened, as it would load them.

    In the size that `image.draft` has chosen; grey as RGB; not turned by EXIF. `content` is the
    whole file. None where Pillow has to decode: for other formats and colours, and for whatever is
    not quite right with the file, so that its tolerance and its messages stay the only ones.
    """
    if not in_use or image.format not in ("JPEG", "MPO") or image.mode not in _MODES:
        return None
    width, height = image.size
    try:
        pixels: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(
            content, "RGB", min_height=height, min_width=width
        )
    except ValueError:
        return None
    return pixels if pixels.shape == (height, width, 3) else None
