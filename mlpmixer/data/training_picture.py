"""A picture that training crops are cut out of: opened first, decoded as far as a crop needs it."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mlpmixer.data.dataset import Split
from mlpmixer.data.formats import open_image
from mlpmixer.data.jpeg import decode_jpeg, decode_region, in_plain_colours, plain_size
from mlpmixer.data.picture import (
    as_tensor,
    box_pixels,
    explained,
    fetch,
    from_bytes,
    least_side,
    named_in_errors,
    open_smaller,
    reduced,
    reduced_size,
    training_crop,
    turn_of,
    upright_size,
)
from mlpmixer.data.resizing import resized
from mlpmixer.models.preprocessing import Preprocessing


class TrainingPicture:
    """An image of a split, of which the header has been read.

    Its crops are those of the picture that `picture_for` returns, to the bit, but where a JPEG is
    damaged below the crop: then that damage goes unseen.

    Args:
        split: where the image comes from.
        index: which it is.
        preprocessing: of the model that it is for: a large picture is reduced to what that needs.

    Raises UnreadableImage, as its methods do. An unexpected error carries a note that names the
    image.
    """

    def __init__(self, split: Split, index: int, preprocessing: Preprocessing) -> None:
        self.index = index
        self.name = split.name(index)
        self.cropped_again = False
        """Whether more than one crop is wanted, so that it is best decoded whole."""
        self.size: tuple[int, int]
        """Width and height of the whole picture, upright and reduced."""
        self._at_least = least_side(preprocessing)
        self._sixteen_bit = preprocessing.sixteen_bit
        self._pixels: Tensor | None = None
        self._encoded = b""
        self._opened: Image.Image | None = None
        self._decoded_size: tuple[int, int] | None = None  # of a JPEG that is upright
        with named_in_errors(self.name):
            encoded = fetch(split, index)
            if isinstance(encoded, np.ndarray):
                self._pixels = as_tensor(reduced(Image.fromarray(encoded), self._at_least))
                self.size = (self._pixels.shape[2], self._pixels.shape[1])
                return
            self._encoded = encoded
            self._decoded_size = plain_size(encoded, self._at_least)
            if self._decoded_size is None:
                self.size = self._size_by_pillow()
            else:
                self.size = reduced_size(self._decoded_size, self._at_least)

    def pixels(self) -> Tensor:
        """Return the whole picture, uint8 (3, h, w); it is decoded once."""
        if self._pixels is None:
            with named_in_errors(self.name), explained(self.name):
                self._pixels = self._decode()
        return self._pixels

    def crop(self, box: list[float], flip: bool, out: Tensor) -> None:
        """Write what `training_crop` cuts out of the whole picture to `out`, uint8 (3, H, W).

        `box` left, top, right, bottom as shares of width and height, in [0, 1].
        """
        size = (out.shape[1], out.shape[2])
        part = None
        if self._pixels is None and not self.cropped_again and self._decoded_size == self.size:
            with named_in_errors(self.name):
                part = decode_region(self.size, self._encoded, box_pixels(box, self.size))
        if part is None:
            training_crop(self.pixels(), box, flip, size, out)
        else:
            resized(torch.from_numpy(part).permute(2, 0, 1), flip, size, out)

    def _size_by_pillow(self) -> tuple[int, int]:
        with explained(self.name):
            image = self._open()
            if in_plain_colours(image):
                if turn_of(image) is None:
                    self._decoded_size = image.size
                return reduced_size(upright_size(image), self._at_least)
        height, width = self.pixels().shape[1:]  # other formats may have several sizes inside
        return width, height

    def _open(self) -> Image.Image:
        if self._opened is None:
            self._opened = open_image(io.BytesIO(self._encoded))
            open_smaller(self._opened, self.name, self._at_least)
        return self._opened

    def _decode(self) -> Tensor:
        if self._decoded_size is not None and self._decoded_size == self.size:  # no need to copy it
            pixels = decode_jpeg(self._open(), self._encoded)
            if pixels is not None:
                return torch.from_numpy(pixels).permute(2, 0, 1)
        at_least, sixteen_bit = self._at_least, self._sixteen_bit
        picture = from_bytes(self._encoded, self.name, at_least=at_least, sixteen_bit=sixteen_bit)
        return as_tensor(picture)
