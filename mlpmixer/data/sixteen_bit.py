"""Pictures of 16 bits a value, as scanners, microscopes and medical devices save them."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from mlpmixer.data.formats import open_image
from mlpmixer.models.preprocessing import SixteenBit

_LARGEST = 65535
_EXIF = ("exif", "Raw profile type exif")


def is_deep(image: Image.Image) -> bool:
    """Return whether an opened picture has more than 8 bits a value, from its header.

    Pillow delivers grey as it is, and of colour the upper 8 bits.
    """
    grey = image.mode == "I" or image.mode.startswith("I;16")
    return grey or any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))


def to_eight_bits(image: Image.Image, content: bytes, how: SixteenBit) -> Image.Image:
    """Return a deep picture, loaded, with 8 bits a value, as `Preprocessing.sixteen_bit` says.

    `content` is its file, empty where that is not at hand. Colour is stretched where the file is a
    PNG; else its upper 8 bits stay.
    """
    grey = image.mode == "I" or image.mode.startswith("I;16")
    if grey:
        values = np.asarray(image).clip(0, _LARGEST)[..., None]  # (H, W, 1)
    elif how == "range" and content and image.format == "PNG":
        values = png_values(content)  # (H, W, C)
    else:
        return image
    pixels = _scaled(values, how)
    converted = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    converted.info.update({key: image.info[key] for key in _EXIF if key in image.info})
    return converted


def _scaled(values: npt.NDArray[np.integer], how: SixteenBit) -> npt.NDArray[np.uint8]:
    """Return values (H, W, C) of 16 bits as 0 to 255; alpha keeps its range."""
    if how == "full":
        return (values / (_LARGEST / 255)).round().astype(np.uint8)
    colour = without_alpha(values).astype(np.float32)
    low, high = colour.min(), colour.max()
    stretched = ((colour - low) * (255 / max(high - low, 1))).round().astype(np.uint8)
    if colour.shape == values.shape:
        return stretched
    if stretched.shape[-1] == 1:
        stretched = np.repeat(stretched, 3, axis=-1)  # grey with alpha becomes RGBA
    alpha = (values[..., -1:] / (_LARGEST / 255)).round().astype(np.uint8)
    return np.concatenate([stretched, alpha], axis=-1)


def without_alpha(values: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """Return grey or colour (H, W, 1 or 3) of values with or without alpha (H, W, 1 to 4)."""
    return values[..., : values.shape[-1] - (values.shape[-1] + 1) % 2]


def png_values(content: bytes) -> npt.NDArray[np.uint16]:
    """Return the values (H, W, C) of a PNG of 16 bits.

    Pillow delivers the upper byte of each value of colour; told that the bytes lie the other way
    round, it delivers the lower one.
    """
    with open_image(io.BytesIO(content)) as image:
        order = str(image.tile[0].args)
    if order.startswith("I;16"):
        with open_image(io.BytesIO(content)) as image:
            return np.asarray(image, dtype=np.uint16)[..., None]
    if order == "LA;16B":
        parts = _unpacked(content, "RGBA")  # both bytes of grey, then of alpha
        upper, lower = parts[..., ::2], parts[..., 1::2]
    else:
        upper, lower = _unpacked(content, order), _unpacked(content, order.replace("16B", "16L"))
    values: npt.NDArray[np.uint16] = upper.astype(np.uint16) * np.uint16(256) + lower
    return values


def _unpacked(content: bytes, order: str) -> npt.NDArray[np.uint8]:
    """Return a PNG's pixels, its rows of bytes taken for what Pillow calls `order`."""
    with open_image(io.BytesIO(content)) as image:
        image.tile = [image.tile[0]._replace(args=order)]
        return np.asarray(image)
