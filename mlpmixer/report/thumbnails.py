"""Pictures as pages show them: small, and inside of the page."""

import io

from PIL import Image

from mlpmixer.report.figure_page import data_uri

_PIXEL_ART = 64  # smaller pictures are magnified without smoothing
SIDE = 224
"""Pixels; larger pictures are shrunk to it."""


def thumbnail(picture: Image.Image) -> tuple[str, bool]:
    """Return a picture as an address that holds it, and whether its pixels are to be seen."""
    picture = picture.convert("RGB")
    pixel_art = max(picture.size) <= _PIXEL_ART
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if pixel_art:
        picture.save(buffer, "PNG")
    else:
        picture.save(buffer, "JPEG", quality=85)
    kind = "png" if pixel_art else "jpeg"
    return data_uri(f"image/{kind}", buffer.getvalue()), pixel_art
