"""What contact sheets as pictures share: colours, fonts, square tiles, text that fits."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageFont, ImageOps

PAPER, INK, GREY, RULE = "#ffffff", "#1d2129", "#6b7280", "#e3e6ea"
MARGIN = 32  # pixels


@dataclass(frozen=True)
class Fonts:
    """The fonts of a sheet."""

    title: ImageFont.FreeTypeFont
    label: ImageFont.FreeTypeFont
    note: ImageFont.FreeTypeFont


def sheet_fonts(tile: int) -> Fonts:
    """Return the fonts that suit tiles of `tile` pixels."""
    # matplotlib brings DejaVu Sans; Pillow's own font has no accents, Greek or Cyrillic.
    import matplotlib

    path = str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
    bold = path.replace("Sans.ttf", "Sans-Bold.ttf")
    label = min(15, max(9, tile // 5))
    return Fonts(
        title=ImageFont.truetype(bold, 20),
        label=ImageFont.truetype(path, label),
        note=ImageFont.truetype(path, max(8, label - 3)),
    )


def square(image: Image.Image, tile: int) -> Image.Image:
    """Return the central square of a picture, `tile` pixels wide.

    Tiny ones are enlarged without smoothing, so that one sees the pixels that a model sees.
    """
    tiny = min(image.size) * 2 <= tile
    method = Image.Resampling.NEAREST if tiny else Image.Resampling.LANCZOS
    return ImageOps.fit(image, (tile, tile), method)


def shortened(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Return `text`, its end replaced by an ellipsis where it is wider than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"
