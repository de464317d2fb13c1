"""One image on its way into a shard: its bytes as they are, or smaller as a JPEG."""

import io
import re
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mlpmixer.data.dataset import Split
from mlpmixer.data.formats import open_image, readable_suffixes
from mlpmixer.data.picture import UnreadableImage, explained, fetch, from_bytes
from mlpmixer.models.preprocessing import SixteenBit

_SUFFIXES = {
    **{"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "TIFF": "tif", "PPM": "ppm"},
    **{"JPEG2000": "jp2", "HEIF": "heic"},
}
"""Of formats that have several."""
_KEY = 64  # characters of a file's name that are kept


@dataclass(frozen=True, kw_only=True)
class PackOptions:
    """What decides the content of a packed data set."""

    max_side: int | None = None
    """Longer side in pixels to which larger images are reduced; None leaves all as they are."""
    quality: int = 90
    """Of the JPEGs that reduced images become, 1 to 100."""
    sixteen_bit: SixteenBit = "full"
    """How 16 bits a value become 8 in reduced images; see `Preprocessing.sixteen_bit`."""
    shard_megabytes: float = 256.0
    """About how large a shard is."""
    seed: int = 0
    """Of the order of the images."""

    def as_json(self) -> dict[str, Any]:
        """Return the same as a plain dictionary."""
        return asdict(self)


class Sample(NamedTuple):
    """An image as it is written."""

    content: bytes
    suffix: str
    """Of its format, without a dot."""


def encode_sample(split: Split, index: int, options: PackOptions) -> Sample:
    """Return an image as it goes into a shard; it has been decoded once, so it is whole.

    Where it need not be reduced, its bytes as they are; pixels become PNG. A reduced one is an
    upright RGB JPEG.

    Raises UnreadableImage.
    """
    encoded, name = fetch(split, index), split.name(index)
    if isinstance(encoded, np.ndarray):
        picture: Image.Image = Image.fromarray(encoded)
        if options.max_side is None or max(picture.size) <= options.max_side:
            return Sample(_saved(picture, "PNG"), "png")
    else:
        with explained(name), open_image(io.BytesIO(encoded)) as opened:
            size, suffix = opened.size, _suffix(opened.format or "", name)
        if options.max_side is None or max(size) <= options.max_side:
            from_bytes(encoded, name)  # damage behind the header would surface in a training
            return Sample(encoded, suffix)
        # Twice the pixels that stay are decoded at least: no loss, and a fraction of the time.
        shorter = max(1, round(options.max_side * min(size) / max(size)))
        picture = from_bytes(encoded, name, at_least=2 * shorter, sixteen_bit=options.sixteen_bit)
    scale = options.max_side / max(picture.size)
    width, height = (max(1, round(scale * side)) for side in picture.size)
    reduced = picture.resize((width, height), Image.Resampling.LANCZOS)
    return Sample(_saved(reduced, "JPEG", quality=options.quality), "jpg")


def sample_key(index: int, name: str) -> str:
    """Return the key of an image in its shard: its place in the source, and its file's name.

    The name comes last, so that whoever reads a number at its end finds it.
    """
    stem = PurePath(name.replace(":", "/")).name.partition(".")[0]
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", stem)[-_KEY:]
    return f"{index:08}-{stem}"


def _suffix(kind: str, name: str) -> str:
    """Return the suffix under which shards hold a format of Pillow's."""
    if kind in _SUFFIXES:
        return _SUFFIXES[kind]
    known = Image.registered_extensions()
    found = sorted(suffix for suffix in readable_suffixes() if known[suffix] == kind)
    if not found:
        raise UnreadableImage(name, f"{kind} files are not read from shards")
    return found[0].removeprefix(".")


def _saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()
