"""The one road from an encoded image to a model's pixels, with failures in plain words.

Training, evaluation, studies and inspection all take it, whether images are kept in memory or
decoded on the fly: what a model sees depends on the picture and the model alone.
"""

import io
import logging
import math
import multiprocessing
import os
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from mlpmixer.data.dataset import Split
from mlpmixer.data.formats import open_image, register_readers
from mlpmixer.data.jpeg import decode_jpeg
from mlpmixer.data.resizing import resized
from mlpmixer.data.sixteen_bit import is_deep, to_eight_bits
from mlpmixer.data.splits import FileSplit
from mlpmixer.errors import MixerError
from mlpmixer.models.preprocessing import Preprocessing, SixteenBit

logger = logging.getLogger(__name__)
# Pillow warns of a picture's size without its name; `_remark_size` says both.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
_remarked: set[str] = set()

DETAIL = 2
"""A large picture is reduced while its shorter side stays this many times the model's input."""

# What Pillow's readers raise on damaged files, beyond OSError.
_DAMAGE = (
    *(SyntaxError, ValueError, EOFError, IndexError, TypeError, KeyError),
    *(OverflowError, ZeroDivisionError, RuntimeError, struct.error, zlib.error),
)

register_readers()

_SIDEWAYS = (5, 6, 7, 8)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture of each EXIF orientation upright."""
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


def decode(
    split: Split, index: int, *, at_least: int | None = None, sixteen_bit: SixteenBit = "full"
) -> Image.Image:
    """Return an image as RGB, upright by its EXIF orientation, fully loaded.

    Transparent parts become white; 16 bits a value become 8 as `Preprocessing.sixteen_bit` says.
    With `at_least`, a larger picture comes smaller by a whole factor, its shorter side still at
    least that many pixels: a JPEG by 2, 4 or 8 in its decoder, which is almost free, others by
    averaging blocks of pixels. Of an animation, the first frame.

    Raises UnreadableImage.
    """
    encoded = fetch(split, index)
    if isinstance(encoded, np.ndarray):
        return reduced(Image.fromarray(encoded), at_least)
    name = split.name(index)
    return from_bytes(encoded, name, at_least=at_least, sixteen_bit=sixteen_bit)


def from_bytes(
    content: bytes, name: str, *, at_least: int | None = None, sixteen_bit: SixteenBit = "full"
) -> Image.Image:
    """Return the image in `content` as `decode` does; `name` is for messages.

    Raises UnreadableImage.
    """
    image: Image.Image
    with explained(name), open_image(io.BytesIO(content)) as image:
        open_smaller(image, name, at_least)
        pixels = decode_jpeg(image, content)
        if pixels is None:
            return _upright(image, content, at_least, sixteen_bit)
        picture, turn = Image.fromarray(pixels), turn_of(image)
        return reduced(picture if turn is None else picture.transpose(turn), at_least)


def open_smaller(image: Image.Image, name: str, at_least: int | None) -> None:
    """Have a picture that Pillow has opened decoded in the smallest size that is large enough."""
    _remark_size(image, name)
    if at_least is not None:
        image.draft(None, (at_least, at_least))


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """Return what makes an opened picture upright, by its EXIF orientation; None: it is."""
    return _TURNS.get(_orientation(image))


def from_picture(
    picture: Image.Image,
    name: str,
    *,
    at_least: int | None = None,
    sixteen_bit: SixteenBit = "full",
) -> Image.Image:
    """Return an image that Pillow has opened as `decode` does; it stays as it is.

    Raises UnreadableImage.
    """
    with explained(name):
        return _upright(picture.copy(), b"", at_least, sixteen_bit)


def _upright(
    image: Image.Image, content: bytes, at_least: int | None, sixteen_bit: SixteenBit
) -> Image.Image:
    """Return an opened image as RGB and upright; `content` is its file where that is known."""
    deep = is_deep(image)
    image.load()
    if deep:
        image = to_eight_bits(image, content, sixteen_bit)
    _turn_upright(image)
    return reduced(_to_rgb(image), at_least)


def picture_for(split: Split, index: int, preprocessing: Preprocessing) -> Image.Image:
    """Return an image as `decode` does, reduced as far as a model of this input allows.

    How far depends on the picture and the input's size alone, so every way of loading agrees.

    Raises UnreadableImage.
    """
    side, sixteen_bit = least_side(preprocessing), preprocessing.sixteen_bit
    return decode(split, index, at_least=side, sixteen_bit=sixteen_bit)


def least_side(preprocessing: Preprocessing) -> int:
    """Return the pixels that the shorter side of a reduced picture keeps."""
    return DETAIL * max(preprocessing.image_size)


def pixels_for(split: Split, index: int, preprocessing: Preprocessing) -> Tensor:
    """Return an image's evaluation crop, uint8 (3, H, W).

    Raises UnreadableImage. An unexpected error carries a note that names the image.
    """
    with named_in_errors(split.name(index)):
        return evaluation_crop(picture_for(split, index, preprocessing), preprocessing)


@contextmanager
def named_in_errors(name: str) -> Iterator[None]:
    """Let unexpected errors say with which image they happened."""
    try:
        yield
    except MixerError:
        raise
    except Exception as error:
        error.add_note(f"This happened with the image {name}.")
        raise


def evaluation_crop(picture: Image.Image, preprocessing: Preprocessing) -> Tensor:
    """Return what a model sees of a picture outside training, uint8 (3, H, W).

    A picture of the input's size is used whole. Of any other, the largest central box of the
    input's aspect ratio, shrunk to `crop_share` of its sides, is resized to the input's size.
    """
    height, width = preprocessing.image_size
    if picture.size != (width, height):
        box = evaluation_box(picture.size, preprocessing)
        method = Image.Resampling[preprocessing.resampling.upper()]
        picture = picture.resize((width, height), method, box=box)
    return as_tensor(picture).contiguous()


def evaluation_box(
    size: tuple[int, int], preprocessing: Preprocessing
) -> tuple[float, float, float, float]:
    """Return what `evaluation_crop` sees of a picture of a size (width, height), in pixels.

    Left, top, right and bottom.
    """
    height, width = preprocessing.image_size
    if size == (width, height):
        return 0.0, 0.0, float(width), float(height)
    scale = min(size[0] / width, size[1] / height) * preprocessing.crop_share
    left = max(0.0, (size[0] - scale * width) / 2)
    top = max(0.0, (size[1] - scale * height) / 2)
    return left, top, size[0] - left, size[1] - top


def training_crop(
    picture: Tensor,
    box: Sequence[float],
    flip: bool,
    size: tuple[int, int],
    out: Tensor | None = None,
) -> Tensor:
    """Cut a box out of a picture and resize it to `size` (H, W), as `resized` does.

    `picture` (3, h, w) uint8 on the CPU, best as `as_tensor` gives it; `box` left, top, right,
    bottom as shares of its width and height, in [0, 1]. Returns (3, H, W) uint8: `out`, where that
    is given, which is contiguous.
    """
    left, top, right, bottom = box_pixels(box, (picture.shape[2], picture.shape[1]))
    return resized(picture[:, top:bottom, left:right], flip, size, out)


def box_pixels(box: Sequence[float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return a box, given in shares of a picture of `size` (width, height), in whole pixels.

    Left, top, right, bottom; at least one pixel a side.
    """
    width, height = size
    left, top, right, bottom = box
    left, top = min(round(left * width), width - 1), min(round(top * height), height - 1)
    return left, top, max(round(right * width), left + 1), max(round(bottom * height), top + 1)


def as_tensor(picture: Image.Image) -> Tensor:
    """Return an RGB picture's pixels, uint8 (3, h, w); in memory the channels come last."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def as_picture(pixels: Tensor) -> Image.Image:
    """Return uint8 pixels (3, h, w) as a picture."""
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())


def read_size(split: Split, index: int, *, at_least: int | None = None) -> tuple[int, int]:
    """Return the width and height of what `decode` returns, from an image's header alone.

    Raises UnreadableImage where there is no valid header; damage further on goes unseen.
    """
    name = split.name(index)
    if isinstance(split, FileSplit):  # no need to read the whole of a large file
        with explained(name), split.path(index).open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise UnreadableImage(name, _EMPTY)
            size = _header_size(file, name, at_least)
    else:
        encoded = fetch(split, index)
        if isinstance(encoded, np.ndarray):
            size = (encoded.shape[1], encoded.shape[0])
        else:
            with explained(name):
                size = _header_size(io.BytesIO(encoded), name, at_least)
    return reduced_size(size, at_least)


def fetch(split: Split, index: int) -> bytes | npt.NDArray[np.uint8]:
    """Return what `Split.encoded` does; raises UnreadableImage where that is nothing."""
    try:
        encoded = split.encoded(index)
    except OSError as error:
        raise UnreadableImage(split.name(index), error.strerror or str(error)) from error
    if not len(encoded):
        raise UnreadableImage(split.name(index), _EMPTY)
    return encoded


def _header_size(stream: BinaryIO, name: str, at_least: int | None) -> tuple[int, int]:
    """Return the upright width and height in which a decoder would deliver the image."""
    with open_image(stream) as image:
        open_smaller(image, name, at_least)
        return upright_size(image)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return the width and height that an opened picture has once it is turned upright."""
    width, height = image.size
    return (height, width) if _lies_on_its_side(image) else (width, height)


def _remark_size(image: Image.Image, name: str) -> None:
    """Say once that a picture is so large that reading it takes long."""
    width, height = image.size
    if width * height > (Image.MAX_IMAGE_PIXELS or math.inf) and name not in _remarked:
        _remarked.add(name)
        if multiprocessing.parent_process() is None:  # workers would say it once each
            pixels = f"{width * height / 1e6:,.0f} megapixels ({width}x{height})"
            logger.warning("%s has %s and takes long to read: shrink it.", name, pixels)


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Turn what Pillow and the file system raise into an UnreadableImage."""
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


def _turn_upright(image: Image.Image) -> None:
    """Turn a loaded picture as its EXIF orientation says; without one that can be read, not."""
    try:
        image.getexif()
        # Else Pillow writes what is left of the block anew, and fails where a tag is broken.
        for block in ("exif", "Raw profile type exif"):
            image.info.pop(block, None)
        ImageOps.exif_transpose(image, in_place=True)
    except (OSError, *_DAMAGE):  # the picture may be whole though its EXIF block is not
        return


def _lies_on_its_side(image: Image.Image) -> bool:
    # Pillow turns TIFF files itself.
    return image.format != "TIFF" and _orientation(image) in _SIDEWAYS


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; 1, which is upright, without one that can be read."""
    try:
        orientation: int = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (OSError, *_DAMAGE):
        return 1
    return orientation


def reduced(picture: Image.Image, at_least: int | None) -> Image.Image:
    """Return a decoded picture in the size that `reduced_size` says."""
    size = reduced_size(picture.size, at_least)
    # Not Pillow's `reduce`: a part of a block at its edge would stretch the picture.
    return picture if size == picture.size else picture.resize(size, Image.Resampling.BOX)


def reduced_size(size: tuple[int, int], at_least: int | None) -> tuple[int, int]:
    """Return a size divided by the largest whole number that leaves `at_least` pixels a side."""
    factor = 1 if at_least is None else max(1, min(size) // at_least)
    return round(size[0] / factor), round(size[1] / factor)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range: save it with 8 or 16 bits")
    if image.has_transparency_data:
        pixels = image.convert("RGBA")
        paper = Image.new("RGBA", pixels.size, "white")
        return Image.alpha_composite(paper, pixels).convert("RGB")
    return image.convert("RGB")
