"""Encoded image to RGB pixels, with every reason for failure told in plain words."""

import io
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from mlpmixer.data.dataset import Split
from mlpmixer.data.splits import FileSplit
from mlpmixer.errors import MixerError

# What Pillow's readers raise on damaged files, beyond OSError.
_DAMAGE = (
    *(SyntaxError, ValueError, EOFError, IndexError, TypeError, KeyError),
    *(OverflowError, ZeroDivisionError, RuntimeError, struct.error, zlib.error),
)

_ORIENTATION = {  # the EXIF value, to what puts the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)
_EMPTY = "it is empty"


class UnreadableImage(MixerError):
    """An image that cannot be decoded.

    `name` says which one and `reason` why; the message is both.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"cannot read {name}: {reason}")
        self.name = name
        self.reason = reason

    def __reduce__(self) -> tuple[type["UnreadableImage"], tuple[str, str]]:
        """Survive the way back from a worker process."""
        return type(self), (self.name, self.reason)


def decode(split: Split, index: int, *, at_least: int | None = None) -> Image.Image:
    """Return an image as RGB, upright by its EXIF orientation, fully loaded.

    Transparent parts become white; 16-bit grey is scaled to 8 bits. With `at_least`, a JPEG
    larger than needed may come smaller, by a whole factor of 2, 4 or 8 that the decoder gives
    almost free of charge, its shorter side still at least that many pixels. Of an animation, the
    first frame.

    Raises UnreadableImage.
    """
    encoded = _fetch(split, index)
    if isinstance(encoded, np.ndarray):
        return Image.fromarray(encoded)
    image: Image.Image
    with _explained(split, index), Image.open(io.BytesIO(encoded)) as image:
        if at_least is not None:
            image.draft(None, (at_least, at_least))
        image.load()
        orientation = _orientation(image)
        upright = image.transpose(_ORIENTATION[orientation]) if orientation > 1 else image
        return _to_rgb(upright)


def read_size(split: Split, index: int) -> tuple[int, int]:
    """Return the upright width and height of an image, from its header alone.

    Raises UnreadableImage where there is no valid header; damage further on goes unseen.
    """
    if isinstance(split, FileSplit):  # no need to read the whole of a large file
        with _explained(split, index), split.path(index).open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise UnreadableImage(split.name(index), _EMPTY)
            return _header_size(file)
    encoded = _fetch(split, index)
    if isinstance(encoded, np.ndarray):
        height, width = encoded.shape[:2]
        return width, height
    with _explained(split, index):
        return _header_size(io.BytesIO(encoded))


def _fetch(split: Split, index: int) -> bytes | npt.NDArray[np.uint8]:
    try:
        encoded = split.encoded(index)
    except OSError as error:
        raise UnreadableImage(split.name(index), error.strerror or str(error)) from error
    if not len(encoded):
        raise UnreadableImage(split.name(index), _EMPTY)
    return encoded


def _header_size(stream: BinaryIO) -> tuple[int, int]:
    with Image.open(stream) as image:
        width, height = image.size
        return (height, width) if _orientation(image) in _SIDEWAYS else (width, height)


@contextmanager
def _explained(split: Split, index: int) -> Iterator[None]:
    """Turn what Pillow and the file system raise into an UnreadableImage."""
    name = split.name(index)
    try:
        yield
    except UnidentifiedImageError as error:
        raise UnreadableImage(name, "not an image of a known format") from error
    except Image.DecompressionBombError as error:
        reason = f"too many pixels (more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,}); shrink it"
        raise UnreadableImage(name, reason) from error
    except OSError as error:
        text = error.strerror or str(error)
        raise UnreadableImage(name, f"truncated ({text})" if _cut_off(text) else text) from error
    except _DAMAGE as error:
        raise UnreadableImage(name, f"damaged ({error})") from error


def _cut_off(reason: str) -> bool:
    return any(word in reason.lower() for word in ("truncated", "premature end", "unexpected end"))


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) to 8; 1 where there is none that can be read."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation)
    except (OSError, *_DAMAGE):  # the picture may be whole though its EXIF block is not
        return 1
    return value if value in _ORIENTATION else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range: save it with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        grey = np.asarray(image).clip(0, 65535)  # (H, W), 16 bits
        return Image.fromarray((grey / 257).round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        pixels = image.convert("RGBA")
        paper = Image.new("RGBA", pixels.size, "white")
        return Image.alpha_composite(paper, pixels).convert("RGB")
    return image.convert("RGB")
