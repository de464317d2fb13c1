"""The formats that are read: those of image suffixes, whatever a file is called."""

import ast
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mlpmixer
from mlpmixer.data.formats import readable_suffixes
from mlpmixer.data.picture import UnreadableImage, from_bytes

PACKAGE = Path(mlpmixer.__file__).parent
OPENS_ITS_OWN = {"data/formats.py": "for all others", "data/corruptions/digital.py": "its own JPEG"}
"""Files that call Pillow's reader, and for what."""
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
CARDS = (b"SIMPLE  = T", b"BITPIX  = 8", b"NAXIS   = 2", b"NAXIS1  = 8", b"NAXIS2  = 8", b"END")
FITS = b"".join(card.ljust(80) for card in CARDS).ljust(2880) + bytes(2880)


def of_suffix(suffix: str) -> bytes:
    """Return a picture of 16 x 12 pixels in the format that the suffix stands for."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, Image.registered_extensions()[suffix])
    return stream.getvalue()


@pytest.mark.parametrize("suffix", sorted(readable_suffixes()))
def test_every_suffix_that_counts_as_an_image_is_read(suffix: str) -> None:
    picture = from_bytes(of_suffix(suffix), f"holiday{suffix}")
    assert (picture.mode, picture.size) == ("RGB", (16, 12))


@pytest.mark.parametrize("content", [EPS, FITS], ids=["eps", "fits"])
def test_documents_and_science_formats_are_not_read(content: bytes) -> None:
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (8, 8)  # Pillow takes it for a picture
    with pytest.raises(UnreadableImage, match="not an image of a known format"):
        from_bytes(content, "holiday.jpg")


def test_the_commonest_formats_are_tried_first() -> None:
    code = "from mlpmixer.data.formats import readable_formats; print(*readable_formats())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    tried = [one for one in said.stdout.split() if one != "HEIF"]  # its reader comes by itself
    assert set(tried[:6]) >= {"JPEG", "PNG"}


def test_pillow_opens_pictures_in_one_place_alone() -> None:
    found = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Image.open":
                found.add(file.relative_to(PACKAGE).as_posix())
    assert found == set(OPENS_ITS_OWN)
