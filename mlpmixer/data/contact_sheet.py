"""A picture of a data source: some images of each class in a row, with the class names."""

import math

import numpy as np
from PIL import Image, ImageDraw

from mlpmixer.data.dataset import Dataset, Split
from mlpmixer.data.label_sets import class_counts, members
from mlpmixer.data.picture import UnreadableImage, decode
from mlpmixer.formatting import counted
from mlpmixer.models.preprocessing import SixteenBit
from mlpmixer.report.sheet_style import (
    GREY,
    INK,
    MARGIN,
    PAPER,
    RULE,
    sheet_fonts,
    shortened,
    square,
)

_GAP = 6  # pixels
_LABEL_WIDTHS = (120, 300)  # of the column of class names, least and most


def contact_sheet(
    dataset: Dataset,
    *,
    split: str | None = None,
    classes: int = 20,
    images: int = 10,
    tile: int = 96,
    seed: int = 0,
    sixteen_bit: SixteenBit = "full",
) -> Image.Image:
    """Return a sheet with a row of up to `images` pictures, `tile` pixels wide, for each class.

    Where there are more than `classes` classes, that many are shown, drawn at random by `seed`
    like the images, and kept in their order. Images that cannot be read are passed over.
    `split` is the training split unless named. Pictures are cut to their central square; tiny
    ones are enlarged without smoothing, so that one sees the pixels that a model sees. 16 bits a
    value become 8 as `Preprocessing.sixteen_bit` says.
    """
    name = split or next(iter(dataset.splits))
    source = dataset.splits[name]
    generator = np.random.default_rng(seed)
    counts = class_counts(source, len(dataset.class_names))
    present = np.flatnonzero(counts)
    shown = present
    if len(present) > classes:
        shown = np.sort(generator.choice(present, classes, replace=False))
    rows = [_tiles(source, int(label), images, tile, generator, sixteen_bit) for label in shown]
    labels = [(dataset.class_names[label], counted(counts[label], "image")) for label in shown]
    note = f"{name}: {counted(len(source), 'image')}, {counted(len(present), 'class', 'classes')}"
    if len(shown) < len(present):
        note += f", {len(shown)} of them shown"
    return _draw(dataset.spec, note, labels, rows, tile)


def _tiles(
    split: Split,
    label: int,
    wanted: int,
    tile: int,
    generator: np.random.Generator,
    sixteen_bit: SixteenBit,
) -> list[Image.Image]:
    """Return up to `wanted` square pictures of a class."""
    tiles: list[Image.Image] = []
    for index in generator.permutation(members(split, label)):
        if len(tiles) == wanted:
            break
        try:
            image = decode(split, int(index), at_least=tile, sixteen_bit=sixteen_bit)
        except UnreadableImage:
            continue
        tiles.append(square(image, tile))
    return tiles


def _draw(
    title: str,
    note: str,
    labels: list[tuple[str, str]],
    rows: list[list[Image.Image]],
    tile: int,
) -> Image.Image:
    fonts = sheet_fonts(tile)
    widest = math.ceil(max(fonts.label.getlength(name) for name, _ in labels))
    label_width = min(max(widest, _LABEL_WIDTHS[0]), _LABEL_WIDTHS[1]) + 20
    columns = max(1, *(len(row) for row in rows))
    header = 88
    least_width = max(fonts.title.getlength(title), fonts.note.getlength(note))
    width = 2 * MARGIN + max(label_width + columns * (tile + _GAP) - _GAP, int(least_width))
    height = header + len(rows) * (tile + _GAP) - _GAP + MARGIN
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, 22), title, font=fonts.title, fill=INK)
    draw.text((MARGIN, 54), note, font=fonts.note, fill=GREY)
    for number, ((name, count), tiles) in enumerate(zip(labels, rows, strict=True)):
        top = header + number * (tile + _GAP)
        middle = top + tile // 2
        if number:
            rule = top - _GAP // 2
            draw.line((MARGIN, rule, MARGIN + label_width - 20, rule), fill=RULE)
        text = shortened(name, fonts.label, label_width - 20)
        draw.text((MARGIN, middle - 1), text, font=fonts.label, fill=INK, anchor="ls")
        draw.text((MARGIN, middle + 5), count, font=fonts.note, fill=GREY, anchor="lt")
        for column, picture in enumerate(tiles):
            sheet.paste(picture, (MARGIN + label_width + column * (tile + _GAP), top))
        if not tiles:
            place = (MARGIN + label_width, middle)
            draw.text(place, "no readable image", font=fonts.note, fill=GREY, anchor="lm")
    return sheet
