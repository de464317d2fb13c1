"""Which files are images: what Pillow, with the plug-ins that are installed, can read."""

import contextlib
import os
from functools import cache
from typing import BinaryIO

from PIL import Image, ImageFile

from mlpmixer.formatting import printable

_STILL_IMAGES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".bmp", ".dib", ".gif"}
    | {".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2", ".j2k", ".jpx", ".tga"}
    | {".heic", ".heif", ".hif", ".jxl", ".qoi", ".pcx", ".sgi"}
)
"""What cameras, phones and data sets hold; Pillow also reads documents and science formats."""
_NEEDS = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "need pillow-heif"),
    ".avif": "need a Pillow with AVIF",
    ".jxl": "Pillow does not read",
}


@cache
def readable_suffixes() -> frozenset[str]:
    """Return the suffixes of images that can be read here, in lower case, with their dot."""
    register_readers()
    Image.preinit()  # so that the commonest formats are tried first
    Image.init()
    return frozenset(
        suffix
        for suffix, kind in Image.registered_extensions().items()
        if suffix in _STILL_IMAGES and (kind in Image.OPEN or kind == "MPO")  # read as JPEG
    )


@cache
def readable_formats() -> tuple[str, ...]:
    """Return Pillow's names of the formats of these suffixes, in the order in which to try them."""
    suffixes = readable_suffixes()
    wanted = {Image.registered_extensions()[suffix] for suffix in suffixes}
    return tuple(kind for kind in Image.ID if kind in wanted)


def open_image(stream: BinaryIO) -> ImageFile.ImageFile:
    """Return an encoded picture of a format that is read here, its pixels not decoded yet.

    Whatever it is called: Pillow goes by the content, and would run Ghostscript on PostScript, and
    readers written in Python on files of astronomers.

    Raises:
        UnidentifiedImageError: it is of no such format; damage raises many others.
    """
    return Image.open(stream, formats=readable_formats())


@cache
def register_readers() -> None:
    """Let Pillow read HEIC where pillow-heif is installed. Every process that decodes needs it."""
    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()


def is_image(name: str) -> bool:
    """Return whether a file is an image that can be read, by its suffix."""
    return name[name.rfind(".") :].lower() in readable_suffixes()


def kind_of(name: str) -> str:
    """Return what a file that is no readable image is, in the plural: ".txt files"."""
    suffix = os.path.splitext(name)[1].lower()
    if not suffix:
        return "files without suffix"
    need = _NEEDS.get(suffix)
    return f"{suffix} files, which {need}" if need else f"{printable(suffix)} files"
